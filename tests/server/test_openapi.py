"""The whole API under schemathesis: no server error, no answer outside its schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from support.effort import few
from support.studios import Opened, copied

schemathesis = pytest.importorskip("schemathesis", reason="the test group brings schemathesis")

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # what is asked is unlike all that was learned from
    pytest.mark.filterwarnings("ignore:Setting per-request cookies:DeprecationWarning"),  # of the test client
]
ASKED = ("method", "url", "headers", "params", "json", "data", "files", "content", "cookies")


@pytest.fixture(scope="module")
def open_studio(trained: Path, tmp_path_factory: pytest.TempPathFactory):
    with copied(trained, tmp_path_factory.mktemp("api") / "s") as one:
        yield one


def hammer(one: Opened, examples: int) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_dict(one.http.get("/v1/openapi.json").json())
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    failures: list[Exception] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/events"):
            continue  # it streams until a job ends
        if operation.path == "/v1/uploads":
            continue  # the files that it takes are damaged in test_uploads

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def try_it(case) -> None:
            asked = case.as_transport_kwargs(base_url="http://127.0.0.1:8765", headers=one.headers())
            answer = one.http.request(**{name: value for name, value in asked.items() if name in ASKED})
            case.validate_response(answer, checks=checks)

        try:
            try_it()
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise ExceptionGroup("the API breaks its word", failures)


def test_a_few_of_every_operation(open_studio: Opened) -> None:
    hammer(open_studio, 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_of_every_operation(open_studio: Opened) -> None:
    hammer(open_studio, few(20, 60))


def test_examples_are_true(open_studio: Opened) -> None:
    spec = open_studio.http.get("/v1/openapi.json").json()
    example = spec["components"]["schemas"]["ScoreIn"]["examples"][0]
    assert open_studio.post("/v1/score", example).status_code == 200
    example = spec["components"]["schemas"]["FeedbackIn"]["examples"][0]
    assert open_studio.post("/v1/feedback", example).status_code == 201
    example = spec["components"]["schemas"]["PredictIn"]["examples"][0]
    assert open_studio.post("/predict", example).status_code == 200
