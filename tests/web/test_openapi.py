"""The description of the interface against the service, by requests that schemathesis makes up."""

import collections
from collections.abc import Callable

import pytest

from tests.web.conftest import Server, png

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis (extra dev)")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_request_that_the_description_allows_or_forbids_breaks_the_service(
    serve: Callable[..., Server], capsys: pytest.CaptureFixture
) -> None:
    server = serve("--max-queue", "5").ready()
    job = server.over(server.job(png(), scale="1"))
    schema = schemathesis.openapi.from_url(f"{server.address}/api/v1/openapi.json")
    statuses: collections.Counter[int] = collections.Counter()
    import hypothesis

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # they do not end
        known = operation.path.replace("{number}", job["id"])

        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(
                max_examples=50,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            def send(case: object) -> None:
                for path in {case.path, known if "{number}" in case.path else case.path}:  # noqa: B023
                    case.path = path
                    if path == known and case.method == "DELETE":  # noqa: B023
                        continue  # it is still needed
                    answer = case.call(base_url=server.address, timeout=60)
                    statuses[answer.status_code] += 1
                    assert answer.status_code < 500, (case.method, path, answer.text)
                    if answer.status_code >= 400:
                        kind = answer.headers["content-type"][0]
                        assert kind.startswith(("application/problem+json", "text/plain")), kind

            try:
                send()
            except hypothesis.errors.Unsatisfiable:
                continue  # nothing is forbidden there
    assert server.client.get("/healthz").status_code == 200
    with capsys.disabled():
        print(f"\n{sum(statuses.values())} requests: {dict(sorted(statuses.items()))}")
    assert sum(statuses.values()) >= 1000
