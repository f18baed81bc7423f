"""Lists input files below a prefix in S3, with the ETag that identifies their content; Polars reads them."""

import os
from typing import BinaryIO

from merit.batch.sources import KINDS, Files, ending, kind_of
from merit.console.masking import masked
from merit.errors import MeritError


def opened(url: str) -> Files:
    """Return the files below `s3://bucket/prefix/`, or the one object of that name.

    Credentials come from the environment, a profile or the machine's role, as for all AWS tools.

    Raises:
        MeritError: s3fs is not installed, the store can't be reached, or no object has a supported format.
    """
    try:
        import s3fs
    except ModuleNotFoundError as error:
        raise MeritError(f"{url}: s3fs is not installed; it comes with 'pip install merit-ml[s3]'") from error
    address = _address()
    try:
        store = s3fs.S3FileSystem(endpoint_url=address, use_listings_cache=False, skip_instance_cache=True)
        listed = store.find(url, detail=True)
    except Exception as error:  # botocore and aiohttp raise a dozen unrelated types
        reason = masked(" ".join(str(error).split()))[:300]
        raise MeritError(f"{url}: can't be listed: {reason}; correct it, AWS_PROFILE or AWS_ENDPOINT_URL") from error
    found = {
        f"s3://{name}": f"{each['size']} bytes, {str(each.get('ETag', '')).strip(chr(34))}"
        for name, each in sorted(listed.items())
        if ending(name) and not name.rpartition("/")[2].startswith((".", "_"))
    }
    if not found:
        raise MeritError(f"{url}: holds no object that ends in {', '.join(KINDS)}")
    is_hive = any("=" in part for name in found for part in name.removeprefix(url).split("/")[:-1])
    return Files(url, kind_of(url, list(found)), tuple(found), found, _storage(address), is_hive)


def _storage(address: str | None) -> dict[str, str]:
    """Return the options by which Polars reaches the store; it finds credentials as boto3 does."""
    if address is None:
        return {}
    told = {"aws_endpoint_url": address, "aws_virtual_hosted_style_request": "false"}
    return told | ({"aws_allow_http": "true"} if address.startswith("http://") else {})


def reader(url: str) -> BinaryIO:
    """Open an object for sequential reading."""
    import s3fs

    store = s3fs.S3FileSystem(endpoint_url=_address(), use_listings_cache=False, skip_instance_cache=True)
    return store.open(url, "rb", block_size=8 * 1024 * 1024, cache_type="readahead")  # type: ignore[no-any-return]


def _address() -> str | None:
    """Return the endpoint of the store; None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
