"""Twisted's POP3 server over TLS: a folder's files are the mails, by their names.

Arguments: the port, the file with certificate and key, the folder, the user and the password.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import endpoints, protocol, reactor
from twisted.mail.pop3 import POP3, IMailbox, Mailbox
from zope.interface import implementer

PORT, PEM, FOLDER, USER, PASSWORD = sys.argv[1:]


@implementer(IMailbox)
class Folder(Mailbox):
    def __init__(self) -> None:
        self._mails = sorted(Path(FOLDER).glob("*.eml"))

    def listMessages(self, index=None):
        sizes = [path.stat().st_size for path in self._mails]
        return sizes if index is None else sizes[index]

    def getMessage(self, index):
        return io.BytesIO(self._mails[index].read_bytes())

    def getUidl(self, index):
        return self._mails[index].stem.encode()


@implementer(IRealm)
class Realm:
    def requestAvatar(self, *_: object):
        return IMailbox, Folder(), lambda: None


class Server(protocol.Factory):
    def buildProtocol(self, addr: object) -> POP3:
        users = InMemoryUsernamePasswordDatabaseDontUse(**{USER: PASSWORD.encode()})
        made = POP3()
        made.portal = Portal(Realm(), [users])
        return made


endpoints.serverFromString(
    reactor, f"ssl:{PORT}:interface=127.0.0.1:privateKey={PEM}:certKey={PEM}"
).listen(Server())
reactor.run()
