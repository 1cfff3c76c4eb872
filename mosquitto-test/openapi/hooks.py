"""What OpenAPI cannot say of the answers: a body may be left out."""

import schemathesis


@schemathesis.hook
def after_call(context, case, response):
    if not response.content:
        response.headers["content-type"] = ["application/octet-stream"]
