"""Files of ids as people have them: which sessions each one means, or why it is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.files.compression import zstd

_RANDOM = random.Random(15)
IDS = [f"{_RANDOM.randrange(10**18, 2**63)}:{_RANDOM.randrange(10**18, 2**63)}" for _ in range(50)]
A, B, C = IDS[:3]
NEGATIVE = "-5415577363091004123:6138002021762428123"
GUIDS = "0A1B2C3D-0000-4000-8000-ABCDEF012345:0A1B2C3D-0000-4000-8000-ABCDEF012346"
LINK = "https://app.fullstory.com/ui/ORG/session/"


def halves(session_id: str) -> list[str]:
    return session_id.split(":")


def table(header: str, *rows: str, end: str = "\n") -> str:
    return end.join([header, *rows]) + end


def links(pattern: str, *, count: int = 3) -> str:
    return "".join(
        pattern.format(n=n, link=LINK + each, id=each) + "\n" for n, each in enumerate(IDS[:count])
    )


SESSIONS = [
    {
        "userId": halves(each)[0],
        "sessionId": halves(each)[1],
        "createdTime": "1716480000",
        "fsUrl": LINK + each,
    }
    for each in IDS[:3]
]
ENCODED = {each: each.replace(":", "%253A") for each in IDS[:3]}
DBT = "full_session_id,user_id,device_id,session_id,start_time"

INPUTS: dict[str, tuple[str | bytes, list[str]]] = {
    "Excel's Unicode text": (table("session_id\tname", f"{A}\tZoë", f"{B}\tBob", end="\r\n").encode("utf-16"), [A, B]),
    "PowerShell 5.1": (f'{{"id": "{A}"}}\r\n{{"id": "{B}"}}\r\n'.encode("utf-16"), [A, B]),
    "UTF-16 without a mark": (table("session_id,n", f"{A},1", f"{B},2").encode("utf-16-le"), [A, B]),
    "UTF-16, big-endian": (f"{A}\n{B}\n".encode("utf-16-be"), [A, B]),
    "UTF-32": (f"{A}\n{B}\n".encode("utf-32"), [A, B]),
    "a device beside a customer's own long id": (table("user_id,device_id,session_id", *(f"{4155550100 + n},{each.replace(':', ',')}" for n, each in enumerate(IDS[:3]))), IDS[:3]),
    "a prefix of both columns": (table("fs_device_id,fs_session_id", *(each.replace(":", ",") for each in IDS[:3])), IDS[:3]),
    "a prefix and another user": (table("fs_user_id,user_id,fs_session_id,session_id", *(f"{halves(each)[0]},7,{halves(each)[1]},9" for each in IDS[:3])), IDS[:3]),
    "a JSON text sequence": ("".join(f'\x1e{{"id": "{each}"}}\n' for each in IDS[:3]), IDS[:3]),
    "URL Defense with a percent sign": ("".join(f"https://urldefense.com/v3/__{LINK}{each.replace(':', '*3A')}__;JQ!!abc!xyz$\n" for each in IDS[:3]), IDS[:3]),
    "Windows-1252": (table("name;session_id", f"Zoë Müller;{A}", f"Bob;{B}", end="\r\n").encode("cp1252"), [A, B]),
    "Shift JIS": (table("名前,session_id", f"表示,{A}", f"x,{B}").encode("shift_jis"), [A, B]),
    "gzip": (gzip.compress(table("session_id,n", f"{A},1", f"{B},2").encode()), [A, B]),
    "zstd": (zstd.compress(table("session_id,n", f"{A},1", f"{B},2").encode()), [A, B]),
    "xz": (lzma.compress(table("session_id,n", f"{A},1", f"{B},2").encode()), [A, B]),
    "bzip2": (bz2.compress(table("session_id,n", f"{A},1", f"{B},2").encode()), [A, B]),
    "gzip of UTF-16": (gzip.compress(f"{A}\n{B}\n".encode("utf-16")), [A, B]),
    "apostrophes": (table("session_id,n", f"'{A},1", f"'{B},2"), [A, B]),
    "text formulas": (table("session_id,n", f'"=""{A}""",1', f'"=""{B}""",2'), [A, B]),
    "sep=": (table("sep=;", "session_id;n", f"{A};1", f"{B};2", end="\r\n"), [A, B]),
    "sep= after a mark": (b"\xef\xbb\xbf" + table('"sep=|"', "session_id|n", f"{A}|1").encode(), [A]),
    "CR only": (table("session_id,n", f"{A},1", f"{B},2", end="\r"), [A, B]),
    "trailing commas": (table("session_id,,,", f"{A},,,", f"{B},,,", ",,,", ",,,"), [A, B]),
    "lines with commas": (f"{A},\n{B},\n", [A, B]),
    "lines with semicolons": (f"{A};\n{B};\n", [A, B]),
    "invisible characters": (f"\u00a0Session\u00a0ID\u200b,n\n\u00a0{A}\u200b,1\n{B}\u00a0,2\n", [A, B]),
    "large cells": (table("session_id,html", f'{A},"{"x" * 140_000}"', f'{B},"y"'), [A, B]),
    "backslashes before quotes": (table("session_id,note", f'{A},"he said \\"hi\\" to me"', f"{B},ok"), [A, B]),
    "backslashes, then the id": (table("note,session_id", f'"say \\"hi, you\\"",{A}', f"ok,{B}"), [A, B]),
    "backslash at an end": (table("note,session_id", f'"say \\"hi\\"",{A}', f'"C:\\",{B}', f'"x",{C}'), [A, B, C]),
    "stray quotes": (table("session_id,note", f'{A},5" screen', f'{B},"a"b'), [A, B]),
    "an open quote": (table("session_id,note", f'{A},"never closed', f"{B},x", f"{C},y"), [A, B, C]),
    "lines within cells": (table("note,session_id", f'"one\ntwo, three",{A}', f'"1:2\n3:4",{B}'), [A, B]),
    "exact floats": (
        table("user_id,session_id", "5736495272951808.0,5629499534213120.0", "5736495272951809.0,5629499534213121.0"),
        ["5736495272951808:5629499534213120", "5736495272951809:5629499534213121"],
    ),
    "dbt": (table(DBT, *(f"{each},{n + 41},{each.replace(':', ',')},2026" for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "dbt with text": (table(DBT, *(f"{each},anon_{each},{each.replace(':', ',')},2026" for each in IDS[:3])), [A, B, C]),
    "only full ids": (table("full_session_id,start_time", *(f"{each},2026-05-04" for each in IDS[:3])), [A, B, C]),
    "two users": (table("user_id,device_id,session_id", f"41,{A.replace(':', ',')}", f"42,{B.replace(':', ',')}"), [A, B]),
    "two long users": (
        table("user_id,device_id,session_id", *(f"1716480000123,{each.replace(':', ',')}" for each in (A, B))), [A, B],
    ),
    "the list's names": (table("UserId;SessionId", A.replace(":", ";"), B.replace(":", ";")), [A, B]),
    "halves as integers": (json.dumps([dict(zip(("UserId", "SessionId"), map(int, halves(A)), strict=True))] * 3), [A]),
    "a page of sessions": (json.dumps({"sessions": SESSIONS}), [A, B, C]),
    "a pretty page": (json.dumps({"sessions": SESSIONS}, indent=2), [A, B, C]),
    "the newest list": (json.dumps({"results": [{"id": A, "app_url": LINK + A}, {"id": B, "app_url": LINK + B}]}), [A, B]),
    "pages": ("\n".join(json.dumps({"sessions": [each]}) for each in SESSIONS) + '\n{"sessions": []}\n{}\n', [A, B, C]),
    "a page in an envelope": (json.dumps({"data": {"sessions": SESSIONS}}), [A, B, C]),
    "a pretty stream": ("\n".join(json.dumps({"id": each, "n": 1}, indent=2) for each in IDS[:3]), [A, B, C]),
    "a stream without breaks": ("".join(json.dumps({"id": each}) for each in IDS[:3]), [A, B, C]),
    "arrays in a row": (json.dumps([A]) + json.dumps([B]), [A, B]),
    "nested fields": (
        "\n".join(json.dumps({"type": "track", "properties": {"fullstory_url": LINK + each}}) for each in IDS[:3]),
        [A, B, C],
    ),
    "links in texts": (
        table("id,subject,description", *(
            f'{n},Help,"Customer can\'t pay. Replay: {LINK}{each.replace(":", "%3A")} thanks"'
            for n, each in enumerate(IDS[:3], 100)
        )), [A, B, C],
    ),
    "links beside numbers": (table("Ticket ID,FullStory URL", *(f"{n},{LINK}{each}" for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "two URLs": (
        table("id,url,subject,session_link", *(
            f"{n},https://acme.zendesk.com/api/v2/tickets/{n}.json,Help,{LINK}{each}" for n, each in enumerate(IDS[:3])
        )), [A, B, C],
    ),
    "Slack": (links("<{link}|replay>"), [A, B, C]),
    "Slack's text": (links("Ada Lovelace  10:{n}2 AM: see <{link}|the replay>, please"), [A, B, C]),
    "autolinks": (links("<{link}>"), [A, B, C]),
    "HYPERLINK": (table("ticket,session_url", *(f'{n},"=HYPERLINK(""{LINK}{each}"",""replay"")"' for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "HYPERLINK with semicolons": (table("t;url", *(f'{n};"=HYPERLINK(""{LINK}{each}"";""x"")"' for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "Markdown": (links("- [replay]({link})"), [A, B, C]),
    "Markdown checklist": (links("* [ ] ticket {n}: **[replay]({link})**."), [A, B, C]),
    "Markdown table": (table("| ticket | replay |", "|---|:-:|", *(f"| {n} | [x]({LINK}{each}) |" for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "HTML": (links('<li><a href="{link}">Replay {n}</a></li>'), [A, B, C]),
    "JSON in a cell": (table("id,payload", *(f'{n},"{{""url"":""{LINK.replace("/", chr(92) + "/")}{each}""}}"' for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "SafeLinks": (
        "".join(
            "https://nam02.safelinks.protection.outlook.com/?url=https%3A%2F%2Fapp.fullstory.com%2Fui%2FORG%2Fsession"
            f"%2F{ENCODED[each]}&data=05%7C01&reserved=0\n"
            for each in IDS[:3]
        ), [A, B, C],
    ),
    "a repeated name": (table("id,name,id", *(f"{each},x,{n}" for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "a repeated name, second": (table("id,name,ID", *(f"{n},x,{each}" for n, each in enumerate(IDS[:3]))), [A, B, C]),
    "missing ids": (table("session_id,n", *(f"{each if n % 3 else ''},{n}" for n, each in enumerate(IDS))), [each for n, each in enumerate(IDS) if n % 3]),
    "joined files": (table("session_id,n", f"{A},1", "session_id,n", f"{B},2"), [A, B]),
    "GUIDs in two cases": (f"{GUIDS}\n{GUIDS.lower()}\n", [GUIDS, GUIDS.lower()]),
    "leading zeros": ("0042:0007\n42:7\n", ["0042:0007", "42:7"]),
    "spaces in a pair": (table("session_id", A.replace(":", " : ")), [A]),
    "missing values": (table("session_id,n", f"{A},1", "NULL,2", r"\N,3", "nan,4", "None,5", "N/A,6", "#N/A,7", f"{B},8", "-,9", "NaT,10"), [A, B]),
    "pipe table": (f"| session_id | n |\n|---|---|\n| {A} | 1 |\n", [A]),
    "psql": (f" session_id | n \n------------+---\n {A} | 1\n {B} | 2\n(2 rows)\n", [A, B]),
    "mysql": (f"+----+---+\n| session_id | n |\n+----+---+\n| {A} | 1 |\n+----+---+\n1 row in set (0.00 sec)\n", [A]),
    "one object": (json.dumps({"session_id": A}), [A]),
    "a mapping of ids": (json.dumps({A: {"n": 1}, B: {"n": 2}}), [A, B]),
    "a list in an object": (json.dumps({"ids": [A, B]}), [A, B]),
    "quotes with spaces": (f'"session_id" ,"n"\n"{A}" ,"1"\n"{B}" ,"2"\n', [A, B]),
    "spaces after commas": (f"n, session_id\n1, {A}\n2, {B}\n", [A, B]),
    "quotes after spaces": (f'n, "session_id"\n1, "{A}"\n2, "{B}"\n', [A, B]),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbf" + f"session_id,n\r\n{A},1\r\n".encode(), [A]),
    "a mark before a quote": (b"\xef\xbb\xbf" + f'"session_id","n"\r\n"{A}","1"\r\n'.encode(), [A]),
    "joined marks": (b"\xef\xbb\xbf" + f"{A}\r\n".encode() + b"\xef\xbb\xbf" + f"{B}\r\n".encode(), [A, B]),
    "Ctrl-Z": (f"{A}\r\n{B}\r\n\x1a", [A, B]),
    "NUL": (f"session_id,n\n{A},1\x00\n", [A]),
    "JSON strings": (f'"{A}"\n"{B}"\n', [A, B]),
    "single quotes": (f"'{A}'\n'{B}'\n", [A, B]),
    "SQL": (f"'{A}',\n'{B}',\n'{C}'\n", [A, B, C]),
    "negative halves": (f"{NEGATIVE}\n'{NEGATIVE}\n", [NEGATIVE]),
    "negative columns": (table("device_id,session_id", NEGATIVE.replace(":", ",")), [NEGATIVE]),
    "an unknown name": (table("who,what", f"Ada,{A}", f"Bob,{B}"), [A, B]),
    "no header": (f"{A},Ada\n{B},Bob\n", [A, B]),
    "no header, last column": (f"Ada,{A}\nBob,{B}\n", [A, B]),
    "a full-width colon": (f"{A.replace(':', '：')}\n", [A]),
    "YAML": (f"- {A}\n- {B}\n", [A, B]),
    "a log": (links("2026-05-04 10:42 INFO session {link} opened"), [A, B, C]),
    "delimiters within cells": (table("note;session_id", f"a, b, c;{A}", f"d, e, f;{B}"), [A, B]),
    "one column": (f"what\n{A}\n{B}\n", [A, B]),
    "times beside ids": (table("time,id", f"10:42,{A}", f"11:07,{B}"), [A, B]),
    "a link in one note": (table("session_id,note", *(f"{each},{LINK + C if each == A else 'ok'}" for each in IDS[:20])), IDS[:20]),
}  # fmt: skip


def read(path: Path, data: str | bytes, column: str | None = None) -> IdInput:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_ids([str(path)], column)


@pytest.mark.row(56)
@pytest.mark.parametrize("name", INPUTS)
def test_a_file_means_the_sessions_that_a_person_sees_in_it(tmp_path: Path, name: str) -> None:
    data, expected = INPUTS[name]
    with closing(read(tmp_path / "ids", data)) as found:
        assert [str(each) for each in found] == expected
        assert (found.invalid, found.not_pairs) == (0, 0)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a JavaScript array": (f'const ids = ["{A}", "{B}", "{C}"];\n', "line 1 holds several ids; put each on a line"),
    "an SQL list": (f"SELECT * FROM t WHERE id IN ('{A}','{B}','{C}');\n", "holds several ids"),
    "ids in one line": (f"{A},{B},{C}\n", "holds several ids"),
    "ids between spaces": (f"{A} {B}\n{C} {A}\n", "holds several ids"),
    "names before ids": (f"session={A}\nsession={B}\n", "line 1 has other text around an id"),
    "grep's output": (f"app.log:1:{A}\napp.log:2:{B}\n", "line 1 has other text around an id"),
    "a log": (f"2026-05-04 12:00 INFO session {A} done\n2026-05-04 12:01 INFO session {B} done\n", "line 1 has other text"),
    "a prefix": (table("session_id", f"fs-{A}", f"fs-{B}"), "line 2 has other text around an id"),
    "dots for the rest": (table("session", f"{halves(A)[0]}:...", f"{halves(B)[0]}:…"), "or a part of one"),
    "a typographic minus": (f"\u2212{A}\n", "has other text around an id"),
    "pandas floats": (table("user_id,session_id", "6.100490361000072e+18,1.5117556205628227e+18", "5.415577363091004e+18,"), "was rounded"),
    "German floats": (table("device_id;session_id", "6,10049E+18;1,51176E+18"), "was rounded"),
    "large floats": (table("device_id,session_id", "9107199254740994.0,1511755620562822700.0"), "was rounded"),
    "fractions": (table("device_id,session_id", "5736495272951808.5,5629499534213120.5"), "was rounded"),
    "floats in a pair": (table("full_session_id", "6.1e+18:1.5e+18"), "was rounded"),
    "floats in JSON": ('[{"UserId": 6.1e18, "SessionId": 1.5e18}]', "was rounded"),
    "15 digits": (table("user_id,session_id", "6100490361000070000,1511755620562820000", "5415577363091000000,6138002021762420000"), "end in 18 zeros"),
    "jq 1.6": ('{"UserId":6100490361000072000,"SessionId":1511755620562822700}\n{"UserId":5415577363091004000,"SessionId":6138002021762428000}\n', "were rounded"),
    "doubles": (table("id", *(":".join(str(int(float(half))) for half in halves(each)) for each in IDS[:3])), "floating-point numbers"),
    "cut links": (table("ticket,session_url", *(f"{n},{LINK}{each[:-9]}" for n, each in enumerate(IDS[:3]))), "cut off"),
    "half links": (table("ticket,session_url", *(f"{n},{LINK}{halves(each)[0]}" for n, each in enumerate(IDS[:3]))), "cut off"),
    "Google Analytics": (table("user_id,session_id,event", "u1,1716480000,click", "u2,1716480100,click"), "10 digits or more"),
    "short users": (table("user_id,session_id", f"41,{halves(A)[1]}", f"42,{halves(B)[1]}"), "10 digits or more"),
    "two links": (table("Old,New", f"{LINK}{A},{LINK}{B}", f"{LINK}{B},{LINK}{C}"), "'Old' and 'New' hold different"),
    "a repeated name, twice ids": (table("id,id", f"{A},{B}", f"{B},{C}"), r"'id \(column 1\)' and 'id \(column 2\)'"),
    "sessions by time": (table("user_id,session_id", "1234567890,1716480000", "1234567891,1716480100"), "10 digits or more"),
    "sessions by milliseconds": (table("user_id,session_id", "1234567890,1716480000123"), "10 digits or more"),
    "halves without a header": (f"{A.replace(':', ',')}\n{B.replace(':', ',')}\n", "no column holds session ids"),
    "two links in a line": (f"{LINK}{A} {LINK}{B}\n", "several sessions"),
    "two links with a comma": (f"{LINK}{A},{LINK}{B}\n", "several sessions"),
    "two links in a cell": (table("n,session_url", f'1,"{LINK}{A}, {LINK}{B}"'), "several sessions|no column holds"),
    "a Python list": (f"['{A}', '{B}']\n", "can't be read as a JSON array"),
    "an API error": ('{"code": "not_found", "message": "x"}', "no column holds session ids"),
    "times": (table("name,start", "a,10:42", "b,11:07"), "no column holds session ids.*columns are: name, start"),
    "sessions of a conference": (table("session,guests", "9:30,10", "10:00,12", "11:45,7"), "no column holds session ids"),
    "tickets": (table("id,subject", "100,Help", "101,Help"), "no column holds session ids"),
    "PDF": (b"%PDF-1.7" + bytes(100), "is a PDF; save the ids as CSV"),
    "a cut gzip file": (gzip.compress(f"{A}\n".encode() * 9)[:-9], "damaged or cut off"),
    "a damaged xz file": (lzma.compress(f"{A}\n".encode() * 9)[:-20], "damaged or cut off"),
    "a cut zstd file": (zstd.compress(f"{A}\n".encode() * 9)[:-5], "damaged or cut off"),
    "mostly something else": (f"{A}\nhello\nworld\n", "line 2 does not look like a session id"),
}  # fmt: skip


@pytest.mark.row(57)
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_usable_ids_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(UsageError, match=reason):
        read(tmp_path / "ids", data)


@pytest.mark.parametrize(
    ("data", "module", "reason"),
    [
        (b"PK\x03\x04", "python_calamine", r"is an Excel workbook, which needs: pip install .*\[xlsx\]"),
        (b"PAR1", "pyarrow", r"is a Parquet file, which needs: pip install .*\[parquet\]"),
    ],
)
def test_a_table_that_needs_an_extra_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, module: str, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=reason):
        read(tmp_path / "ids", data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(UsageError, match="standard input is an? [EP].*, which can only be read from a file"):
        read_ids(["-"])


@pytest.mark.row(58)
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("Windows-1252", "Windows-1252"),
        ("missing ids", "17 rows have no id"),
        ("trailing commas", "2 rows have no id"),
        ("missing values", "8 rows have no id"),
        ("backslashes before quotes", "irregular quotation marks, which were read leniently: 1 row"),
        ("stray quotes", "irregular quotation marks, which were read leniently: 1 row"),
        ("leading zeros", "fetched separately: 0042:0007 and 42:7"),
        ("GUIDs in two cases", f"fetched separately: {GUIDS} and {GUIDS.lower()}"),
    ],
)
def test_what_was_noticed_is_said(tmp_path: Path, name: str, note: str) -> None:
    with closing(read(tmp_path / "ids", INPUTS[name][0])) as found:
        assert note in "\n".join(found.notes())


def test_a_usual_file_has_no_notes(tmp_path: Path) -> None:
    with closing(read(tmp_path / "ids", INPUTS["dbt"][0])) as found:
        assert found.notes() == []


def test_one_id_that_looks_rounded_is_only_a_warning(tmp_path: Path) -> None:
    rounded = "6100490361000070000:1511755620562820000"
    with closing(read(tmp_path / "ids", table("session_id", rounded))) as found:
        assert [*found] == [rounded]
        assert f"the id {rounded} ends in zeros" in found.notes()[0]


def test_ids_that_look_rounded_can_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_text(str(REFUSED["15 digits"][0]))
    with closing(read_ids([str(path)], trust_ids=True)) as found:
        assert len(found) == 2
    path.write_text(str(REFUSED["pandas floats"][0]))
    # nothing is left to trust in an exponent: such a row fails, and nothing is sent for it
    with pytest.raises(UsageError, match="was rounded"):
        read_ids([str(path)], trust_ids=True)


@pytest.mark.row(58)
def test_a_row_that_is_no_id_fails_alone_and_is_numbered_as_an_editor_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_text(f'# exported\nnote,session_id\n"two\nlines",{A}\n\nx,Total\ny,{B}\n')
    with closing(read_ids([str(path)])) as found:
        assert ([str(each) for each in found], found.invalid) == ([A, "Total", B], 1)
        assert "line 6 does not look like a session id: 'Total'" in found.notes()[0]
    with pytest.raises(UsageError, match="line 6 does not look like a session id"):
        read_ids([str(path)], strict=True)


def test_several_files_are_one_input(tmp_path: Path) -> None:
    for name, text in (("a.csv", table("session_id", A, B)), ("b.txt", f"{B}\n{C}\n")):
        (tmp_path / name).write_text(text)
    with closing(read_ids([str(tmp_path / "a.csv"), str(tmp_path / "b.txt")])) as found:
        assert ([*found], found.duplicates) == ([A, B, C], 1)


@pytest.mark.parametrize("column", ["properties.session.id", "Properties.Session.ID"])
def test_a_nested_field_is_named_by_its_path(tmp_path: Path, column: str) -> None:
    text = json.dumps([{"id": B, "properties": {"session": {"id": A, "n": 1}}}])
    with closing(read(tmp_path / "ids", text, column)) as found:
        assert [*found] == [A]


@pytest.mark.parametrize("column", ["my ids", "MY IDS", " My  Ids ", "my\u00a0ids"])
def test_a_named_column_is_found_in_any_case(tmp_path: Path, column: str) -> None:
    with closing(read(tmp_path / "ids", table("session_id,My Ids", f"{A},{B}"), column)) as found:
        assert [*found] == [B]


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'ids'; the columns are: session_id, name"):
        read(tmp_path / "ids", table("session_id,name", f"{A},x"), "ids")


def test_an_array_of_large_objects_is_read_in_linear_time(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        rows = [{"session_id": each, "html": 'x"y\n' * 250_000} for each in IDS[:count]]
        (tmp_path / "ids").write_text(json.dumps(rows))
        began = time.process_time()
        read_ids([str(tmp_path / "ids")]).close()
        return time.process_time() - began

    # 16 MB took 54 s when every piece was read from the object's beginning
    assert seconds(8) < 8 * max(seconds(1), 0.2)
