-- Sends a copy of a request to the shadow and drops the response. The copy runs in its own task, so that the request
-- isn't delayed; no copy is sent if too many are in flight, or the body exceeds the buffer (tune.bufsize).
local MAX_COPIES = 64
local in_flight = 0
local SOCKET = "unix@" .. os.getenv("SHADOW_SOCKET")

core.register_action("copy", { "http-req" }, function(txn)
  local body = txn.f:req_body()
  local length = tonumber(txn.f:req_hdr("content-length") or "")
  if body == nil or length == nil or #body ~= length or in_flight >= MAX_COPIES then
    return
  end
  local url = "http://127.0.0.1" .. txn.f:path()
  local headers = { ["content-type"] = { txn.f:req_hdr("content-type") or "application/json" } }
  in_flight = in_flight + 1
  core.register_task(function()
    pcall(function()
      core.httpclient():post({ url = url, body = body, headers = headers, dst = SOCKET, timeout = 5000 })
    end)
    in_flight = in_flight - 1
  end)
end)
