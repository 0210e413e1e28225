"""The page that ``chainrule play`` opens: a network seen thinking and learning, in the browser.

Begin with `server`, which answers the browser, and `session`, which belongs to one tab of it. Each
part of the page is a panel: a class on this side (`panel` has the base), and the ES module of the
same name in ``static/panels``.

**Messages** are JSON objects ``{panel, type, id, data}`` over one WebSocket. The page sends a
message with an `id` and gets one with the same `id` and the type "reply" (what
:meth:`~chainrule.app.panel.Panel.handle` returned) or "error" (``data.message`` is one line to
show). A panel sends what it likes at any time, without an `id`.

**A tab is a session**, as long as its socket lives. The first message to a panel is "open", with
what the page has set there (its `state`); the panel is made from that. When the socket breaks, as
when the server is started again, the page connects anew and opens its panels again, with what they
have set then. When it closes, the session's panels are closed, and what they train is stopped.

**Threads.** All of a session's panels live in one thread of its own: messages are handled there one
after the other. Between them, when none has come for a moment, the method
:meth:`~chainrule.app.panel.Panel.work` of a panel is called as long as it has more to do. So a
panel needs no locks, and trains in slices of at most some 30 ms. Work that cannot be cut goes into
a thread of the panel's own.

**The page** (``static``): `main.js` has the tabs, the address and the theme; `connection.js` the
socket; `charts.js` what is drawn by several panels; ``style.css`` the type, the colours and the
spacing that all use. A module of a panel exports ``mount(root, app)``, which fills `root` and
returns ``{onMessage(type, data), getState(), setState(state), onOpen(reply), onShow()}``; `app` has
``request(type, data)`` (a promise of the reply), ``send(type, data)``, ``upload(file, progress)``,
``download(name)`` (an address), ``say(message)`` (an error in the panel; "" takes it away),
``changed()`` (what is set has changed; the address follows) and ``onTheme(function)`` (colours have
changed; draw again).
"""
