"""Typed events for the kinds of GitHub delivery that plugins work with; every other kind is a ``NamedEvent``.

One class per kind is written by hand, and one per action is made of it by the table ``KINDS``: ``Issues`` means
every action on an issue, ``"github.issues.*"`` the same by name, ``"github.issues.opened"`` that one alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AliasPath, BaseModel, ConfigDict, Field, create_model

from plugbus import Event, event_type

__all__ = (
    "EVENT_TYPES",
    "KINDS",
    "CheckRun",
    "CheckSuite",
    "Commit",
    "Create",
    "Delete",
    "Deployment",
    "DeploymentStatus",
    "GithubEvent",
    "IssueComment",
    "Issues",
    "PullRequest",
    "PullRequestReview",
    "Push",
    "Release",
    "Star",
    "Status",
    "WorkflowJob",
    "WorkflowRun",
)


def at(*path: str) -> Any:
    """Say where in the payload a field is found; by its own name it can be given too."""
    return Field(validation_alias=AliasPath(*path))


class GithubEvent(Event, name="github", key="repo"):
    """What all typed deliveries have in common; subscriptions with a ``key`` filter by repository.

    Example:
        >>> GithubEvent.model_validate({"repository": {"full_name": "acme/rocket"}, "sender": {"login": "mira"}})
        GithubEvent(repo='acme/rocket', actor='mira')
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    repo: Annotated[str, at("repository", "full_name"), Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    actor: Annotated[str, at("sender", "login")] = "ghost"  # what GitHub calls an account that is gone


class Issues(GithubEvent, name="github.issues"):
    """Something was done to an issue."""

    action: str
    number: Annotated[int, at("issue", "number")]
    title: Annotated[str, at("issue", "title")]
    body: Annotated[str | None, at("issue", "body")] = None
    url: Annotated[str, at("issue", "html_url")] = ""


class IssueComment(GithubEvent, name="github.issue_comment"):
    """Somebody commented on an issue or a pull request."""

    action: str
    number: Annotated[int, at("issue", "number")]
    title: Annotated[str, at("issue", "title")]
    body: Annotated[str | None, at("comment", "body")] = None


class PullRequest(GithubEvent, name="github.pull_request"):
    """Something was done to a pull request."""

    action: str
    number: int
    title: Annotated[str, at("pull_request", "title")]
    body: Annotated[str | None, at("pull_request", "body")] = None
    head: Annotated[str, at("pull_request", "head", "ref")]
    base: Annotated[str, at("pull_request", "base", "ref")]
    draft: Annotated[bool, at("pull_request", "draft")] = False


class PullRequestReview(GithubEvent, name="github.pull_request_review"):
    """A pull request was reviewed."""

    action: str
    number: Annotated[int, at("pull_request", "number")]
    title: Annotated[str, at("pull_request", "title")]
    state: Annotated[str, at("review", "state")]
    body: Annotated[str | None, at("review", "body")] = None


class Commit(BaseModel):
    """One commit of a push."""

    model_config = ConfigDict(frozen=True)

    id: str
    message: str


class Push(GithubEvent, name="github.push"):
    """Commits or a tag reached a branch."""

    ref: str
    before: str
    after: str
    forced: bool = False
    commits: tuple[Commit, ...] = ()


class Create(GithubEvent, name="github.create"):
    """A branch or tag was made."""

    ref: str
    ref_type: str


class Delete(GithubEvent, name="github.delete"):
    """A branch or tag was deleted."""

    ref: str
    ref_type: str


class Release(GithubEvent, name="github.release"):
    """Something was done to a release."""

    action: str
    tag: Annotated[str, at("release", "tag_name")]
    title: Annotated[str | None, at("release", "name")] = None
    body: Annotated[str | None, at("release", "body")] = None
    prerelease: Annotated[bool, at("release", "prerelease")] = False


class CheckRun(GithubEvent, name="github.check_run"):
    """One check of a commit began or ended."""

    action: str
    title: Annotated[str, at("check_run", "name")]
    sha: Annotated[str, at("check_run", "head_sha")]
    status: Annotated[str, at("check_run", "status")]
    conclusion: Annotated[str | None, at("check_run", "conclusion")] = None


class CheckSuite(GithubEvent, name="github.check_suite"):
    """All checks of a commit began or ended."""

    action: str
    sha: Annotated[str, at("check_suite", "head_sha")]
    status: Annotated[str | None, at("check_suite", "status")] = None
    conclusion: Annotated[str | None, at("check_suite", "conclusion")] = None


class WorkflowRun(GithubEvent, name="github.workflow_run"):
    """A workflow began or ended."""

    action: str
    title: Annotated[str | None, at("workflow_run", "name")] = None
    run_number: Annotated[int, at("workflow_run", "run_number")]
    sha: Annotated[str, at("workflow_run", "head_sha")]
    status: Annotated[str, at("workflow_run", "status")]
    conclusion: Annotated[str | None, at("workflow_run", "conclusion")] = None


class WorkflowJob(GithubEvent, name="github.workflow_job"):
    """One job of a workflow was queued, began or ended."""

    action: str
    title: Annotated[str, at("workflow_job", "name")]
    run_id: Annotated[int, at("workflow_job", "run_id")]
    status: Annotated[str, at("workflow_job", "status")]
    conclusion: Annotated[str | None, at("workflow_job", "conclusion")] = None


class Star(GithubEvent, name="github.star"):
    """A star was given or taken back."""

    action: str
    starred_at: str | None = None


class Deployment(GithubEvent, name="github.deployment"):
    """A deployment was asked for."""

    action: str
    ref: Annotated[str, at("deployment", "ref")]
    environment: Annotated[str, at("deployment", "environment")]
    task: Annotated[str, at("deployment", "task")] = "deploy"


class DeploymentStatus(GithubEvent, name="github.deployment_status"):
    """A deployment went on, succeeded or failed."""

    action: str
    environment: Annotated[str, at("deployment", "environment")]
    state: Annotated[str, at("deployment_status", "state")]
    title: Annotated[str | None, at("deployment_status", "description")] = None


class Status(GithubEvent, name="github.status"):
    """An outside system judged a commit."""

    sha: str
    state: str
    context: str


# A kind without actions is emitted as itself. GitHub adds actions now and then: what is not listed here is
# carried as a NamedEvent and still matches "github.issues.*".
KINDS: Final[dict[type[GithubEvent], tuple[str, ...]]] = {
    Push: (),
    Create: (),
    Delete: (),
    Status: (),
    Issues: (
        "assigned", "closed", "deleted", "demilestoned", "edited", "labeled", "locked", "milestoned", "opened",
        "pinned", "reopened", "transferred", "typed", "unassigned", "unlabeled", "unlocked", "unpinned", "untyped",
    ),
    IssueComment: ("created", "deleted", "edited"),
    PullRequest: (
        "assigned", "auto_merge_disabled", "auto_merge_enabled", "closed", "converted_to_draft", "demilestoned",
        "dequeued", "edited", "enqueued", "labeled", "locked", "milestoned", "opened", "ready_for_review", "reopened",
        "review_request_removed", "review_requested", "synchronize", "unassigned", "unlabeled", "unlocked",
    ),
    PullRequestReview: ("dismissed", "edited", "submitted"),
    Release: ("created", "deleted", "edited", "prereleased", "published", "released", "unpublished"),
    CheckRun: ("completed", "created", "requested_action", "rerequested"),
    CheckSuite: ("completed", "requested", "rerequested"),
    WorkflowRun: ("completed", "in_progress", "requested"),
    WorkflowJob: ("completed", "in_progress", "queued", "waiting"),
    Star: ("created", "deleted"),
    Deployment: ("created",),
    DeploymentStatus: ("created",),
}  # fmt: skip


def _with_action(kind: type[GithubEvent], action: str) -> type[GithubEvent]:
    """Make the class of one action: ``IssuesOpened``, an ``Issues`` named ``github.issues.opened``."""
    made = create_model(
        kind.__name__ + action.title().replace("_", ""),
        __base__=kind,
        __module__=__name__,
        __doc__=f"{kind.__name__}, when the action is {action!r}.",
        __cls_kwargs__={"name": f"{event_type(kind).name}.{action}"},
        action=(Literal[action], action),  # type: ignore[arg-type]  # one literal type per row of the table
    )
    globals()[made.__name__] = made  # a class that pickles is found in its module by its name
    return made


EVENT_TYPES: Final[dict[str, type[GithubEvent]]] = {
    event_type(cls).name: cls
    for kind, actions in KINDS.items()
    for cls in ([_with_action(kind, action) for action in actions] or [kind])
}
