-- Sends a copy of a request to the shadow and drops the response. The copy runs in its own task, so that the request
-- isn't delayed; no copy is sent if too many are in flight, or the body exceeds the buffer (tune.bufsize).
local MOST = 64
local flying = 0
local SOCKET = "unix@" .. os.getenv("SHADOW_SOCKET")

core.register_action("copy", { "http-req" }, function(txn)
  local body = txn.f:req_body()
  local length = tonumber(txn.f:req_hdr("content-length") or "")
  if body == nil or length == nil or #body ~= length or flying >= MOST then
    return
  end
  local url = "http://127.0.0.1" .. txn.f:path()
  local headers = { ["content-type"] = { txn.f:req_hdr("content-type") or "application/json" } }
  flying = flying + 1
  core.register_task(function()
    pcall(function()
      core.httpclient():post({ url = url, body = body, headers = headers, dst = SOCKET, timeout = 5000 })
    end)
    flying = flying - 1
  end)
end)
