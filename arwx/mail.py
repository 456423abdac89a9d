"""Mail to people, where the operator has named a server that takes it."""

import logging
import smtplib
import ssl
import threading
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

_TIMEOUT_S = 20
_log = logging.getLogger("arwx.error")


def send_soon(smtp_url: str, to: str, subject: str, text: str) -> threading.Thread:
    """Hand the message to the mail server, beside the request: how long that takes must tell nobody anything.

    What goes wrong is in the log. Answers the thread, for those who want to wait.
    """
    thread = threading.Thread(target=_send, args=(smtp_url, to, subject, text), daemon=True)
    thread.start()
    return thread


def _send(smtp_url: str, to: str, subject: str, text: str) -> None:
    parts = urlsplit(smtp_url)
    message = EmailMessage()
    message["From"] = parse_qs(parts.query)["from"][0]
    message["To"], message["Subject"] = to, subject
    message.set_content(text)
    host = parts.hostname or ""
    trusted = ssl.create_default_context()
    try:
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=_TIMEOUT_S, context=trusted)
        else:
            server = smtplib.SMTP(host, parts.port or 587, timeout=_TIMEOUT_S)
        with server:
            server.ehlo()
            # A password is never sent in the clear: where there is one, a server without TLS is refused.
            if parts.scheme == "smtp" and (parts.username or server.has_extn("starttls")):
                server.starttls(context=trusted)
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        _log.error("mail not sent", extra={"fields": {"reason": type(error).__name__}})
