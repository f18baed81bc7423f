"""Lists the gate's checks of merit: each file of this package that sets NAME and FAMILY."""

from functools import cache
from typing import TypeVar

from merit.config import extensions
from merit.config.schema.gate import CHECK_PACKAGE
from merit.gate.checks.protocol import CheckFamily, DataFamily

Family = TypeVar("Family", CheckFamily, DataFamily)


@cache
def list_families(kind: type[Family]) -> tuple[Family, ...]:
    """Return the families of one kind in the order of the report."""
    modules = [extensions.import_extension(CHECK_PACKAGE, name) for name in extensions.list_names(CHECK_PACKAGE)]
    families = [module.FAMILY for module in modules if isinstance(module.FAMILY, kind)]
    return tuple(sorted(families, key=lambda family: family.position))
