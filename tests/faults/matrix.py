"""The fault matrix: what can go wrong, and what the client does then. `docs/reliability.md` shows it with its tests' outcomes.

"A free call" costs nothing (sessions, profiles, the key); "a paid one" costs an activation (events, context, summary).
"""

from __future__ import annotations

import attrs

__all__ = ["PENDING", "ROWS", "Row"]

PENDING: frozenset[int] = frozenset()
"""Rows whose tests come with what they test, which is not part of this tree yet."""


@attrs.frozen
class Row:
    """One line of the table."""

    number: int
    fault: str
    promise: str


_AGAIN = "A free call is made again; a paid one ends in {error} with `may_have_cost`, or is made again with `repeat_metered=True`"

ROWS = tuple(
    Row(number, *texts)
    for number, texts in enumerate(
        (
            (
                "The name of the host can't be looked up",
                "Tries again, paid calls too, since nothing was sent; then `ConnectError`, within the call's time",
            ),
            (
                "The connection is refused",
                "Tries again, paid calls too; then `ConnectError`. Nothing is written anywhere",
            ),
            (
                "No response while connecting",
                "Gives up after `connect_timeout` (5 s by default), tries again, then `APITimeoutError` with `sent=False`",
            ),
            (
                "The network can't be reached",
                "`ConnectError` without waiting for a timeout; tries again before",
            ),
            (
                "TLS: an unknown authority, another host's certificate, an expired one, no TLS at all",
                "`ConnectError` with `permanent=True` after one connection; the request never leaves. Nothing suggests switching the check off",
            ),
            ("No response before the read timeout", _AGAIN.format(error="`APITimeoutError`")),
            ("The body stops arriving", _AGAIN.format(error="`APITimeoutError`")),
            (
                "The body arrives byte by byte, without end",
                "The attempt's whole time ends it, not only silence. "
                + _AGAIN.format(error="`APITimeoutError`"),
            ),
            (
                "The connection breaks in the middle of a body of known length, or of chunks",
                "No part of it is taken for the response. " + _AGAIN.format(error="`ProtocolError`"),
            ),
            (
                "The same, where only the connection's end would end the body",
                "JSON without its end counts as broken off. " + _AGAIN.format(error="`ProtocolError`"),
            ),
            (
                "The connection is reset before a response, or was kept alive for too long",
                _AGAIN.format(error="`ProtocolError`")
                + ". One that had served before is replaced at once. aiohttp's own second sending is off",
            ),
            (
                "What comes back is not HTTP, has a huge header, or can't be decompressed",
                "`ProtocolError`; a free call is made once more before. Never taken for the status 400 that aiohttp gives it",
            ),
            (
                "Complete, but no JSON",
                "`DecodeError` with the status, the size and the first 200 bytes, redacted, and the body in `.response`; a free call is made once more before",
            ),
            (
                "NaN, lone surrogates, a byte order mark, bad UTF-8, 100 000 levels, 5 000 digits",
                "Read where Python's `json` reads it, else `DecodeError`; other calls and jobs continue",
            ),
            (
                "JSON under another content type",
                "Read as JSON, with one warning per client in the log",
            ),
            (
                "An HTML page, as a 200 or as a 502",
                "200: `UnexpectedResponseError`, and a free call is made once more before. 502: a `ServerError` like any other",
            ),
            (
                "An empty response: 200 without a body, or 204",
                "200: `UnexpectedResponseError`; a job records nothing and stops after 5 in a row. 204: no events",
            ),
            (
                "JSON of another shape: a list, null, missing or unknown fields",
                "Missing and unknown fields are fine, and `.raw` keeps everything; a body that isn't an object can't be FullStory's, and a member of the wrong type is a `DecodeError` that names the place",
            ),
            (
                "A redirect to another host",
                "`UnexpectedRedirect` after one request; the other host sees nothing, least of all the key",
            ),
            (
                "A redirect to the same host, in a circle, or from https to http",
                "The same: no redirect is ever followed",
            ),
            (
                "400",
                "`BadRequestError` after one request, with the service's message and its code, text or number",
            ),
            ("401", "`AuthenticationError` after one request; a fan-out or job stops after the first"),
            (
                "403",
                "`PermissionDeniedError` after one request; a fan-out or job stops after three without a success between",
            ),
            (
                "404",
                "`NotFoundError`, the failure of this one id; the others continue, and a job does not ask for it again",
            ),
            (
                "408, 409, 425",
                _AGAIN.format(error="its error") + ". Profiles are made, changed and deleted once",
            ),
            (
                "429 with seconds",
                "All calls wait exactly that long, a second at least; in fan-out it uses up no attempt, and nothing was charged",
            ),
            (
                "429 with a date: three forms, one that is past, clocks that differ",
                "The time from the response's own `Date` to it counts; a second at least",
            ),
            (
                "429 without a time",
                "Backs off for a second at least, more each time; an adaptive limiter slows down as well",
            ),
            ("429 with an unreadable time: words, negative, NaN, other digits", "As without one"),
            (
                "429 with a huge time (a day)",
                "A single call raises `RateLimitedError` with `retry_after` at once. A job ends as `rate limited` (exit code 6), and can be resumed later",
            ),
            (
                "A storm of 429s, the limit unknown",
                "`RateLimit.adaptive` finds the limit: at least 95 % of what is possible, few 429s, no id given up",
            ),
            ("One 500, 502, 503 or 504", _AGAIN.format(error="`ServerError`")),
            (
                "Minutes of 5xx",
                "The retry budget keeps the traffic within 2 % of one request per call. A job waits after ten in a row, asks with one call at a time and continues by itself; after a minute it ends as `network down` (exit code 8)",
            ),
            (
                "The server says that trying again is useless: `x-should-retry: false`, 501, 505",
                "One request, and its error",
            ),
            (
                "A body larger than `max_response_bytes` (64 MiB)",
                "`ResponseTooLarge`; the rest is not read, the connection is closed, the memory stays flat",
            ),
            ("A small response that unpacks to a huge one", "As above: what is counted is the unpacked size"),
            (
                "Ids with `/`, `..`, `%2F`, `?`, `#`, line ends, NUL, any Unicode; empty or extremely long ones",
                "One request with exactly that id in exactly that place, or `InvalidSessionId` before any",
            ),
            (
                "An id that is there twice",
                "One call in a job. A fan-out makes one call and returns one outcome for each",
            ),
            (
                "A call is cancelled, at any moment",
                "`CancelledError`; no connection, token or task is left behind",
            ),
            ("`asyncio.timeout` around a call", "It wins, on time; nothing is left behind"),
            (
                "The event loop is closed with the client open; the client is used in another loop or thread",
                '`ClientStateError` that says what to do; never "Event loop is closed"',
            ),
            (
                "SIGINT or SIGTERM in the middle of a job",
                "No new calls; those that were sent have 5 s, or none after a second signal. Exit code 130 or 143, resumable",
            ),
            (
                "SIGKILL in the middle of a job",
                "Nothing is lost and nothing is there twice; at most `concurrency` calls per kill are paid for again",
            ),
            (
                "The disk is full, or becomes read-only",
                "The job ends as `storage failed` (exit code 1) with all that was paid for, and can be resumed later",
            ),
            ("Two processes with one job", "The second one gets `JobLockedError` (exit code 75) at once"),
            (
                "A job's file is cut off, damaged or of a later version",
                "Refused for writing; what is intact can be read and exported. Responses have checksums, and ids are looked up both ways, so that nothing damaged is taken for a response or for another session's",
            ),
            (
                "The clock jumps by an hour",
                "Waits and timeouts go by the monotonic clock. Only a `Retry-After` date in a response without a `Date` is read against the wall clock; what comes of it is bounded by `max_wait`",
            ),
            (
                "A limiter shared through Redis fails",
                "Nothing is sent, and calls end in `LimiterUnavailable` at once or after `timeout`; or, with `fallback`, each process continues at its own rate. Both end by themselves. What Redis forgets (`FLUSHALL`, a restart, an empty replica) is taken for an empty bucket, so that no window has more than `burst + rate·W`. A job waits for it and counts no session as failed",
            ),
            (
                "Another server responds: the sign-in page of a network, a proxy, a web server (2xx, 4xx, 511)",
                "`UnexpectedResponseError`, which says which server probably responded and at which address; a free call is made once more before. A paid one counts as at risk; only a redirect and a 511 are free. A 200 without a body is such a response. Texts and empty bodies from 400 on go by their status",
            ),
            (
                "JSON of another API",
                "The same. An empty object, unknown further members and missing ones are fine",
            ),
            (
                "Another server responds from the start, in bulk",
                "Before the first response from FullStory to a paid call at most 5 calls are in flight, and after 5 such responses in a row the work ends: at most 5 activations at risk. A job asks `/me` first and ends as `not_fullstory` (exit code 9) before it pays; nothing is recorded for a session, and `--resume` makes all calls",
            ),
            (
                "Another server responds in the middle of a job",
                "After 5 such responses in a row it ends as `not_fullstory` (exit code 9): at most `concurrency` + 4 activations at risk and no others spent, nothing recorded for a session. The report says how many, and how `/me` responds now. Five responses in a row with a status that FullStory does not send, such as 405 or 451, and without its code end the job too",
            ),
            (
                "Redirects, in bulk",
                "The third in a row ends a fan-out or a job; the message names the host. Nothing is charged",
            ),
            (
                "An error as the body of a 200",
                "`ErrorInSuccess`, handled like a 500: "
                + _AGAIN.format(error="it")
                + ". Never taken for an empty result",
            ),
            (
                "A 503 with a page between good responses",
                "All calls pause as after a 429. If its `Server` or `Via` is another than that of the good responses, it is free and made again; otherwise a paid call ends in `GatewayThrottledError` with `may_have_cost`. A job records nothing for the session. After ten failures in a row it is an outage",
            ),
        ),
        start=1,
    )
)

ROWS += (
    Row(
        56,
        "An ids file of another program: UTF-16, Windows-1252, compressed, a drawn table, links in texts, wrapped or nested ids",
        "The column is found by its content, and exactly the sessions are fetched that a person sees in the file",
    ),
    Row(
        57,
        "Ids that a spreadsheet, JavaScript or a floating-point column has rounded, or URLs that were cut off",
        "Refused before anything is sent, with how to export them; `--trust-ids` overrides. One suspicious id only warns",
    ),
    Row(
        58,
        "Rows without an id, and rows that aren't ids",
        "Counted and reported. A row that isn't an id fails by itself and is shown by `job failures`; `--strict` refuses the file",
    ),
    Row(
        59,
        "A member of a `(str, Enum)` class as an id, e-mail, profile id, key, header or query parameter",
        "Its text is sent, not its name",
    ),
    Row(
        60,
        "A whole table given as ids; rows as mappings; negative ids in an export",
        "A table is refused with a hint; rows follow the rules for files; negative ids come back in as they were",
    ),
    Row(
        61,
        "One of the two list endpoints isn't served: 405, or a 404 without a code of its own",
        "The other path is tried once, and kept for this client once it has responded; if neither is served, the error of the configured one. Listing is free",
    ),
    Row(
        62,
        "Sessions come in the other endpoint's form, as a bare list, or not at all",
        "All decode to `Session`, whichever path they came from; `{}` and objects of scalars are empty lists",
    ),
    Row(
        63,
        "A list of sessions that is something else: `data`, `error`, `code` with `message`, other arrays",
        '`DecodeError` that says what it has instead; never "no sessions"',
    ),
    Row(
        64,
        "Profiles that are null or have no id or configuration; empty lists left out",
        "Unusable entries are skipped, a missing configuration sets nothing, a missing list is empty",
    ),
    Row(
        65,
        "Ids that are all wrong: another column, another organisation",
        "Until a job has its first success, 20 calls are started at most. If all fail for their session (404, 400, unreadable), `fetch` asks on a terminal; elsewhere the job ends as `no session found` (exit code 10). `--max-failures` allows more, and is saved in the job. A fan-out has the same as an option",
    ),
    Row(
        66,
        "No one can be asked before spending: streams in pipes, a background process, cron",
        "The question goes to `/dev/tty`, in the foreground only. Where there is no terminal, `--max-activations`, `--yes` or `FULLSTORY_YES=1` is consent; without one `fetch` warns",
    ),
    Row(
        67,
        "A kept-alive connection ended while the loop was busy or the process stood still: FIN, RST, half-closed, TLS closed, unsolicited data",
        "Its socket is polled before the request leaves; the connection is dropped, and another one carries the request. No call fails, and none is sent twice",
    ),
    Row(
        68,
        "The process is suspended for longer than its timeouts: a closed lid, `docker pause`, Ctrl-Z, a debugger",
        "Responses that have arrived meanwhile are read before anything is given up, in single calls, fan-outs, jobs and streams. Nothing is sent after the deadline of its call",
    ),
    Row(
        69,
        "More workers than the process may have file descriptors (`ulimit -n`)",
        "A client has at most as many connections as the soft limit less 32, or less what is open, and calls queue for one. All ids get a result",
    ),
    Row(
        70,
        "The program's own code raises an exception in the middle of a call: a trace hook of a given session, a patched module",
        "`ProgramError` with that exception as its `__cause__`, whatever its class; `may_have_cost` only if the request had left, and then the ledger keeps the activation. Not repeated; ends a fan-out or a job",
    ),
    Row(
        71,
        "The pool of a given session is full because of its other users",
        "The wait ends with the call's time, in `APITimeoutError` with `sent=False`: nothing was sent, so nothing may have cost",
    ),
    Row(
        72,
        "Sloppy framing: two equal `Content-Length`, or one beside chunks, a 204 with a body, bytes after the body or after the end of its gzip",
        "A complete response is taken, and the connection closed. Lengths that differ are refused: `ProtocolError`",
    ),
    Row(
        73,
        "421 or 520 to 529 with `Retry-After`: a gateway lost its way to the service",
        _AGAIN.format(error="its error") + ". Without that header they are results",
    ),
    Row(
        74,
        "`0001-01-01T00:00:00Z` as a time",
        "It means no time: `None`",
    ),
    Row(
        75,
        "The file of the ledger, the response cache or a job is locked by another program, or its disk is slow",
        "Deadlines, `asyncio.timeout` and cancellations hold; the message names the file. What must be settled is settled in the background, and closing waits for it, 30 s at most",
    ),
    Row(
        76,
        "The loop's executor is full, or no thread can be started",
        "Files and the lookup of names have threads of their own. Where none can be started for a file: `StorageError`, and nothing is sent",
    ),
    Row(
        77,
        "A caller that is cancelled again in each turn of the loop (`anyio.move_on_after`)",
        "It leaves at once, and a job that it closes is closed in the background; the loop is never kept busy",
    ),
    Row(
        78,
        "The process is forked while its event loop runs",
        "A limiter, ledger or cache that was made before works in the child, and the parent loses no connection",
    ),
    Row(
        80,
        "The certificate of a server, or of a proxy, has an authority that is not known",
        "`ConnectError` with `permanent=True` after one connection, which says how to give a CA bundle: `ClientConfig(ssl=…)`, `--ca-file`, `SSL_CERT_FILE`",
    ),
    Row(
        81,
        "The server demands a client certificate, or does not accept it: TLS alerts, and the pages of nginx",
        "`ConnectError` with `permanent=True` that names `client_cert`; one attempt, nothing at risk, nothing recorded for a session; fan-outs and jobs end",
    ),
    Row(
        82,
        "A proxy refuses: 401, 403, 407, to `CONNECT` and in plain HTTP",
        "`ProxyError` after one attempt, never `AuthenticationError`, never at risk. A fan-out ends at once, a job as `not_fullstory` (exit code 9). 502, 503 and 429 of a proxy are tried again",
    ),
    Row(
        83,
        "A proxy that requires a login, in plain HTTP or TLS",
        "It gets `proxy_auth`, or the user and password of its URL; never the API key, unless the request itself is plain HTTP",
    ),
    Row(
        84,
        "A proxy refuses, and many calls start at once",
        "It is asked once: the first call goes alone until the proxy accepts it, and after a refusal all calls of the client fail for a minute without asking. So a wrong password is one login",
    ),
    Row(
        85,
        "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`",
        "Used with `trust_env=True`, and by the command line. `NO_PROXY` takes names, domains, addresses, networks and ports; this machine is never reached through them",
    ),
    Row(
        86,
        "A key file or a variable with a byte order mark, in UTF-16, with `\\r\\n` or spaces",
        "Cleaned, or `ConfigurationError` that names the file and the variable; the key is never shown",
    ),
    Row(
        88,
        "A file system without hard links, `flock` or `chmod`: SMB, exFAT, 9p, a bucket behind FUSE",
        "A job, ledger, cache and export work there: files are created by `O_EXCL` or under a lock file, which the next process on the same host takes over from a dead one. A warning says that other users may read them. Where SQLite can't lock, a finished job can be read, and writing names the missing feature",
    ),
    Row(
        91,
        "Standard streams that are closed, full, or that have no reader left (`>&-`, `2> /dev/full`, `| true`, a terminal that went away)",
        "Lost messages change nothing. Lost data is an error (exit code 1, or 141 for a pipe) of commands whose work it is; `fetch`, `demo`, `sandbox`, `job export` and `job purge` succeed by what they leave behind. If the loss is foreseeable, nothing is paid for",
    ),
    Row(
        92,
        "An ASCII locale; COLUMNS that is 0, tiny, huge or no number; FORCE_COLOR and NO_COLOR",
        "Help and data are printed whole: JSON has escapes, other text question marks. A forced colour animates nothing, and NO_COLOR wins",
    ),
    Row(
        93,
        "A closed terminal sends several signals: the kernel's, the shell's, the login service's",
        "A hang-up never counts as the second Ctrl-C: calls in flight still have 5 s. Exit code 129",
    ),
    Row(
        95,
        "A job's log (`-wal`) is deleted, cut off or damaged after a kill; only some of the job's files are copied, or at different times",
        "Noticed: a record beside the file and a mark in it say which commit must be there. Opening it to run is refused and changes nothing; what is there can be read and exported (exit code 3). `job accept-loss` continues without the rest, and all that may have been spent counts",
    ),
    Row(
        96,
        "A job's lock file is removed or replaced, and a second process opens the job",
        "The first one notices at its next commit, sends nothing more and ends as `taken over` (exit code 75). The responses to its calls in flight are kept, once each; the budget holds for both together",
    ),
    Row(
        97,
        "Other failures of the disk: EIO, a quota, EACCES, no free descriptors; the program changes its working directory",
        "Each is called what it is, by trying the folder where SQLite hides the system's error; only a full disk or a quota uses the spare room. A relative job folder stays where it was when it was named",
    ),
    Row(
        98,
        "A summary was cached by a clock that was ahead",
        "It is not used before its time; the next one replaces it, and one of a far future is removed",
    ),
    Row(
        99,
        "The ledger or the response cache is damaged: a changed row, any byte, a lost end",
        "Rows have checksums. A damaged summary is dropped with a warning and generated again; of a damaged count the copy is used, and without an intact one nothing more is spent. It never goes down. Every error is a `ConfigurationError` or a `StorageError`",
    ),
    Row(
        100,
        "A constructor gets a misspelt setting, a wrong type or a key in the wrong place, and an error tracker prints all variables",
        "The error names the setting; no frame of it holds the API key, a proxy's login or the URL of Redis. Files are filed under the same fingerprint as ever",
    ),
    Row(
        101,
        "A server or proxy quotes the key, a proxy's password, an e-mail address or a uid: escaped for URLs, JSON or HTML (also several times), in upper case, in base64, cut, wrapped",
        "Removed from errors with headers and bodies, in linear time; the rest of the text stays",
    ),
    Row(
        102,
        "Sentry, rich, structlog, Elastic APM and Rollbar report what goes wrong, in their default settings, with every variable of every frame",
        "They send no API key, no login of a proxy, no password of Redis; `nox -s reporters` tries them. Sentry's own instrumentation of aiohttp notes the query of requests",
    ),
    Row(
        103,
        "A request that several callers share (equal summaries at the same time) fails",
        "Each caller gets an equal exception of its own: what one caller's frames hold, or what it notes on the error, is in no other caller's report",
    ),
    Row(
        104,
        "The disk is full while large responses are in flight: 32 of 4 MB, 64 of 1 MB, 128 of 0.3 MB, first ones of 20 MB, a few large ones among many small, suddenly ten times larger ones",
        "No paid response is lost. A job sends only as many calls as their responses, learnt from those so far, fit into its spare room, which grows up to 64 MiB (at most half of the free space). So memory stays flat as well",
    ),
    Row(
        105,
        "The job can't be written while paid responses are in flight: EIO, another program's lock, a read-only disk",
        "The responses are held and nothing more is sent, for a minute. Then they are written to `FOLDER.rescue`, or where the program says, and the next run takes them in. A run that is cancelled does so as well",
    ),
    Row(
        106,
        "The ledger can't be opened for a moment: no descriptors, EACCES, a mount that went",
        "A `StorageError`, once it has worked: a job waits for a minute, sends nothing meanwhile, and continues. A ledger whose file is gone is not counted from 0",
    ),
    Row(
        107,
        "A response about another session: one too many on a kept-alive connection, or data before any request",
        "`DecodeError` with the body in `.response`, counted as spent, and the connection is closed, so no later response is shifted. Only decimal pairs are compared. A job keeps the body, and a later run asks again. A connection with unread data carries no request",
    ),
    Row(
        108,
        "Two event loops use a limiter in turns, with calls waiting in both",
        "`ClientStateError` in the second one, so the rate is kept, until the first one has finished its calls or is closed",
    ),
    Row(
        109,
        "A call is cancelled twice, or the program ends at once after a cancellation",
        "An activation that was not spent is released in the ledger: in the background, for which the end of the process waits, 30 s at most",
    ),
    Row(
        110,
        "New connections take several round trips to open, before a server that counts as strictly as the limiter",
        "A token drains from when its request leaves, so what waits for a connection and what is sent over open ones fit into the limit together; for a fixed rate with a burst of half a second or more",
    ),
    Row(
        111,
        "An `http://` base URL by the name of this machine (`localhost`), which leads to another machine",
        "`ConfigurationError` when the connection is there, before anything is written to it, unless `allow_http` is set; also with a given session, and behind its proxy",
    ),
    Row(
        112,
        "Several jobs, or other programs, fill the disk of a job",
        "It looks at the free room after each commit, and counts the disk as full before its spare room is needed. That is given back in parts, so that no other job spends it on further calls",
    ),
    Row(
        113,
        "A rescue file is damaged, shared by several jobs, a link or pipe that another user has put there, readable by others, or can't be read",
        "Damaged results are left out with a warning, and another job's stay for that job. Links and pipes are not followed, and the file is made private. One that can't be read ends the run before anything is spent, with its name",
    ),
    Row(
        114,
        "The ledger's file is removed or replaced between two runs of a job",
        "The next run raises the ledger to what the job itself has certainly spent with it this month, and warns: what other programs have spent is lost. A file that is removed while it is used is a `StorageError`",
    ),
    Row(
        115,
        "A job's log (`-wal`) is removed, or it or the job's file is cut off, while the job runs",
        "Removed: every commit is copied into the file at once, so a kill loses nothing, and a warning says so. Cut off: the job stops before its next commit and sends nothing more, since SQLite would copy zeros over good pages; responses in flight go to the rescue file, and the next opening says what is missing",
    ),
    Row(
        116,
        "The process is forked while it has a job open",
        "The job stays the parent's: the child gets `ClientStateError`, and its end changes nothing in the folder",
    ),
    Row(
        120,
        "A part of an unasked response on a kept-alive connection, which the parser has read and forgets with the next request",
        "The connection carries no further request, so the rest can't break or shift a paid response; a response that merely comes in pieces keeps its connection",
    ),
    Row(
        121,
        "The API key, or a URL with a password, is given in another place: as a file, a variable, a number, a session id",
        "The error's message names the setting and shows `<secret>` in its place, on the command line too; nothing was sent",
    ),
    Row(
        122,
        "Behind a shared request, the program's own code raises an exception that can't be copied, such as pydantic's `ValidationError`",
        "Every caller gets a `ProgramError` at once, its cause as it is; before, they waited until their time was over",
    ),
)
