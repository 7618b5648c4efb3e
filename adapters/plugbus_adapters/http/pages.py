"""Pages of plugins: a template with values, escaped.

Owns where templates are looked for: in the folder ``templates`` of the plugin itself, then in those that the settings
name. Jinja2 is imported with the first page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final
from weakref import WeakKeyDictionary

import anyio.to_thread

from plugbus import PlugbusError

if TYPE_CHECKING:
    from jinja2 import Environment

    from plugbus import Owner

__all__ = ("Page", "TemplateMissingError")


class TemplateMissingError(PlugbusError, LookupError):
    """A plugin has no template of this name.

    Args:
        template: The name.
        plugin: Id of the plugin.
        searched: The folders in which it was looked for.
    """

    def __init__(self, template: str, plugin: str, searched: tuple[str, ...]) -> None:
        super().__init__(template, plugin, searched)
        self.template, self.plugin, self.searched = template, plugin, searched

    def _parts(self) -> tuple[str, str]:
        where = ", ".join(self.searched) or "nowhere, since it has no folder"
        return f"plugin {self.plugin!r} has no template {self.template!r}; looked in {where}.", (
            "put it into the folder 'templates' beside the plugin; a name has no '..' in it."
        )


@final
class Page:
    """What an endpoint returns to be shown as HTML.

    Every value is escaped, unless the template says ``|safe`` or the value is ``markupsafe.Markup``. A value that is
    missing is an error.

    Args:
        template: Name of the template, with ``/`` between folders.
        **context: Its values.

    Example:
        >>> Page("orders.html", orders=[1, 2])
        Page('orders.html', orders=...)
    """

    __slots__ = ("context", "template")

    def __init__(self, template: str, /, **context: Any) -> None:
        self.template, self.context = template, context

    def __repr__(self) -> str:
        return f"Page({', '.join([repr(self.template), *(f'{name}=...' for name in self.context)])})"


@final
class Templates:
    """The templates of all plugins of one app.

    Args:
        folders: Where to look for those that a plugin does not have itself.
    """

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self._folders = tuple(folders)
        self._of: WeakKeyDictionary[Owner, Environment] = WeakKeyDictionary()

    async def render(self, owner: Owner, page: Page) -> bytes:
        """Return a page as HTML. It is made in a worker thread, since templates are read from files.

        Args:
            owner: The plugin that returned it.
            page: The page.

        Raises:
            TemplateMissingError: If there is no such template, or its name leads out of the folders.
            jinja2.TemplateError: If it cannot be rendered.
        """
        environment = self._of.get(owner)
        if environment is None:
            environment = self._of[owner] = self._environment(owner)
        return await anyio.to_thread.run_sync(self._rendered, environment, owner, page)

    def _rendered(self, environment: Environment, owner: Owner, page: Page) -> bytes:
        from jinja2 import TemplateNotFound

        try:
            return environment.get_template(page.template).render(page.context).encode()
        except TemplateNotFound as error:
            raise TemplateMissingError(str(error.name), owner.id, self._searched(owner)) from None

    def _searched(self, owner: Owner) -> tuple[str, ...]:
        own = () if owner.folder is None else (str(owner.folder / "templates"),)
        return (*own, *self._folders)

    def _environment(self, owner: Owner) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        return Environment(loader=FileSystemLoader(self._searched(owner)), autoescape=True, undefined=StrictUndefined)
