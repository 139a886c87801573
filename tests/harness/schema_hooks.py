"""Loaded by schemathesis: keeps it from cutting off the branch that it sits on.

A change of the admin token that the run itself uses goes to another one: after it, all answers would be 401 and nothing
would be tested any more.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis

OWN = os.environ.get("TILL_SCHEMA_OWN_ID")
OTHER = os.environ.get("TILL_SCHEMA_OTHER_ID")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if OWN and case.method != "GET" and (case.path_parameters or {}).get("id") == OWN:
        case.path_parameters["id"] = OTHER
