"""Google's API hosts. A call at the host of another location is refused."""

from .errors import ApiError

_MULTI_REGIONS = ("us", "eu")


def require_host(host: str, location: str) -> None:
    """Raise ApiError 400 for one of Google's hosts that does not serve the location.

    Any other host is that of the emulator.
    """
    name = host.partition(":")[0].lower()
    if name.endswith(".googleapis.com") and name != _host_of(location):
        raise ApiError(400, "Invalid hostname")


def _host_of(location: str) -> str:
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    prefix = "" if location == "global" else f"{location}-"
    return f"{prefix}aiplatform.googleapis.com"
