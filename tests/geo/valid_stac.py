"""STAC is checked against the schemas of its core, which pystac carries."""

from pystac.validation import JsonSchemaSTACValidator


def refuse_no_stac(*things):
    """Check items and collections."""
    validator = JsonSchemaSTACValidator()
    for thing in things:
        validator.validate_core(thing.to_dict(), thing.STAC_OBJECT_TYPE, "1.1.0")
