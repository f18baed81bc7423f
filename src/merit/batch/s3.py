"""Lists input files below a prefix in S3, with the ETag that identifies their content; Polars reads them."""

import os
from typing import BinaryIO

from merit.batch.formats import FORMATS_BY_ENDING, get_ending
from merit.console.masking import mask_secrets
from merit.errors import MeritError


def list_objects(url: str) -> dict[str, str]:
    """Return the size and ETag of each file below `s3://bucket/prefix/`, or of the one object of that name, by its URL.

    Credentials come from the environment, a profile or the machine's role, as for all AWS tools.

    Raises:
        MeritError: s3fs is not installed, the store can't be reached, or no object has a supported format.
    """
    try:
        import s3fs
    except ModuleNotFoundError as error:
        raise MeritError(f"{url}: s3fs is not installed; it comes with 'pip install merit-ml[s3]'") from error
    try:
        filesystem = s3fs.S3FileSystem(endpoint_url=_get_endpoint(), use_listings_cache=False, skip_instance_cache=True)
        objects = filesystem.find(url, detail=True)
    except Exception as error:  # botocore and aiohttp raise a dozen unrelated types
        reason = mask_secrets(" ".join(str(error).split()))[:300]
        raise MeritError(f"{url}: can't be listed: {reason}; correct it, AWS_PROFILE or AWS_ENDPOINT_URL") from error
    versions = {
        f"s3://{name}": f"{each['size']} bytes, {str(each.get('ETag', '')).strip(chr(34))}"
        for name, each in sorted(objects.items())
        if get_ending(name) and not name.rpartition("/")[2].startswith((".", "_"))
    }
    if not versions:
        raise MeritError(f"{url}: holds no object that ends in {', '.join(FORMATS_BY_ENDING)}")
    return versions


def get_storage_options() -> dict[str, str]:
    """Return the options by which Polars reaches the store; it finds credentials as boto3 does."""
    if (endpoint := _get_endpoint()) is None:
        return {}
    options = {"aws_endpoint_url": endpoint, "aws_virtual_hosted_style_request": "false"}
    return options | ({"aws_allow_http": "true"} if endpoint.startswith("http://") else {})


def open_object(url: str) -> BinaryIO:
    """Open an object for sequential reading."""
    import s3fs

    filesystem = s3fs.S3FileSystem(endpoint_url=_get_endpoint(), use_listings_cache=False, skip_instance_cache=True)
    return filesystem.open(url, "rb", block_size=8 * 1024 * 1024, cache_type="readahead")  # type: ignore[no-any-return]


def _get_endpoint() -> str | None:
    """Return the endpoint of the store; None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
