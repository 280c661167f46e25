"""The offered actions never contradict what the aggregates decide."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import DomainError
from backend.domain.events import Cause, caused_by
from backend.domain.model import ImportRequest, Model, ModelState
from backend.readmodels.actions import Situation, actions_of

STEPS = (
    "archive", "stored", "validated", "failed", "retry", "cancel", "publish", "withdraw",
    "deploy", "serve", "revision_failed", "stop", "stopped", "start",
)  # fmt: skip


class World:
    """A model and its deployment, driven as the application layer drives them."""

    def __init__(self) -> None:
        self.model = Model.request_import(
            ImportRequest(file_name="m.zip", upload_id=uuid4(), size_bytes=1)
        )
        self.deployment: Deployment | None = None

    def deploy(self) -> None:
        if self.model.state is not ModelState.READY:
            raise DomainError("not ready", remedy="-")
        if self.deployment is None:
            self.deployment = Deployment.begin(
                model_id=self.model.id, terms_version="1", terms_sha256="x"
            )
        self.deployment.request(
            configuration=DeployConfiguration(), model_version="0.0.1", reason=""
        )

    def stop(self) -> None:
        if self.deployment is None:
            raise DomainError("never deployed", remedy="-")
        self.deployment.stop(reason="")

    def serve(self) -> None:
        if self.deployment is not None:
            self.deployment.record_revision_deployed(revision=self.deployment.desired_revision)

    def fail_revision(self) -> None:
        if self.deployment is not None:
            self.deployment.record_revision_failed(
                revision=self.deployment.desired_revision, reason="r", remedy="r", log_tail=[]
            )

    def end(self) -> None:
        if self.deployment is not None:
            self.deployment.record_stopped()

    def start(self) -> None:
        if self.deployment is None or self.model.state is not ModelState.READY:
            raise DomainError("never deployed, or not ready", remedy="-")
        self.deployment.start()

    def step(self, name: str) -> None:
        m = self.model
        acts: dict[str, Callable[[], object]] = {
            "archive": lambda: m.receive_archive(m.latest.upload_id or uuid4(), 1),
            "stored": lambda: m.record_files_stored(
                "0.0.1", manifest_uri="u", manifest_sha256="s", file_count=1, total_bytes=1
            ),
            "validated": lambda: m.record_validated("0.0.1", report={}, card={}),
            "failed": lambda: m.record_import_failed(
                "0.0.1", step="s", reason="r", remedy="r", report=None
            ),
            "retry": m.retry_import,
            "cancel": m.cancel_import,
            "publish": m.publish,
            "withdraw": m.withdraw,
            "deploy": self.deploy,
            "serve": self.serve,
            "revision_failed": self.fail_revision,
            "stop": self.stop,
            "start": self.start,
            "stopped": self.end,
        }
        acts[name]()

    @property
    def written(self) -> int:
        return self.model.version + (self.deployment.version if self.deployment else 0)

    def situation(self) -> Situation:
        state = self.deployment.state.value if self.deployment else None
        return Situation(
            self.model.state.value,
            self.model.latest.state.value,
            self.model.publication,
            state,
            self.model.latest.retriable,
        )


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_what_is_offered_works_and_what_is_not_does_nothing(steps: list[str]) -> None:
    with caused_by(Cause("test", uuid4())):
        for action in (
            "deploy",
            "redeploy",
            "start",
            "stop",
            "publish",
            "withdraw",
            "retry",
            "cancel",
        ):
            world = World()
            for name in steps:
                try:
                    world.step(name)
                except DomainError:
                    continue
            offered = getattr(actions_of(world.situation(), lambda _: True), action)
            before = world.written
            deployed_before = world.deployment is not None
            try:
                world.step("deploy" if action == "redeploy" else action)
            except DomainError:
                assert not offered.allowed, (action, world.situation())
                continue
            if action == "deploy" and deployed_before:
                assert not offered.allowed  # it would be a redeployment
            elif action == "redeploy" and not deployed_before:
                assert not offered.allowed
            else:
                assert offered.allowed == (world.written > before), (action, world.situation())


def test_every_refusal_says_why() -> None:
    for state in ModelState:
        if state is ModelState.DELETED:
            continue
        for deployment in (None, *(each.value for each in DeploymentState)):
            situation = Situation(state.value, state.value, "unpublished", deployment, True)
            actions = actions_of(situation, lambda _: True)
            for name in actions.__struct_fields__:
                view = getattr(actions, name)
                assert view.allowed == (view.reason is None)
