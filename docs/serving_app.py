"""A stored model behind HTTP: rows as JSON in, predictions as JSON out.

MODEL=model.chainrule uvicorn --factory serving_app:make_app
"""

import json
import os
import warnings

import pandas as pd
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

import chainrule
from chainrule.tables.levels import UnseenLevelWarning

LARGEST_BODY = 1_000_000  # bytes
MOST_ROWS = 10_000


def make_app(path=None):
    """Load the model once, and give the app."""
    path = path or os.environ["MODEL"]
    model = chainrule.load(path)
    columns = list(model[0].get_feature_names_out())
    decision = chainrule.read_header(path)["metadata"].get("decision", {})
    warnings.simplefilter("ignore", UnseenLevelWarning)  # the answer says which they are

    async def predict(request):
        rows = rows_of(await body_of(request), columns)
        return JSONResponse(await run_in_threadpool(answer, model, decision, rows))

    async def health(request):
        return JSONResponse({"columns": columns})

    async def refused(request, error):
        return JSONResponse({"error": error.detail}, error.status_code)

    return Starlette(
        routes=[Route("/predict", predict, methods=["POST"]), Route("/", health)],
        exception_handlers={HTTPException: refused},
    )


async def body_of(request):
    """The body, of which no more is read than is allowed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"send at most {LARGEST_BODY:,} bytes at a time")
    return bytes(body)


def rows_of(body, columns):
    """The rows as a data frame with the model's columns; what is wrong is named."""
    try:
        rows = json.loads(body)["rows"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HTTPException(400, 'send JSON such as {"rows": [{"column": value}]}') from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise HTTPException(400, '"rows" is a list of one object or more')
    if len(rows) > MOST_ROWS:
        raise HTTPException(413, f"send at most {MOST_ROWS:,} rows at a time")
    for number, row in enumerate(rows):
        missing = [name for name in columns if name not in row]
        if missing:
            raise HTTPException(400, f"row {number}: {missing[0]!r} is missing; it may be null")
    return pd.DataFrame(rows, columns=columns)


def answer(model, decision, rows):
    """The predictions, and how many rows have levels that training did not have."""
    try:
        unseen = model[0].unseen(rows)
        if not hasattr(model, "classes_"):
            found = {"prediction": model.predict(rows).tolist()}
        else:
            chances = model.predict_proba(rows)
            names = [str(name) for name in model.classes_]
            likeliest = chances.argmax(axis=1)
            if "threshold" in decision:  # what `train --cost` or `--precision` chose
                at = names.index(decision["positive"])
                taken = chances[:, at] >= decision["threshold"]
                likeliest = [at if each else 1 - at for each in taken]
            found = {
                "prediction": [names[j] for j in likeliest],
                "probability": [dict(zip(names, row, strict=True)) for row in chances.tolist()],
            }
    except ValueError as error:  # a cell that is not of its column's kind
        raise HTTPException(400, str(error)) from None
    return found | {"unseen": {name: dict(counts) for name, counts in unseen.items()}}
