"""The guard against the shared case list, and against more cases of every class in it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bridge.guard import REASONS, Policy

FILE = json.loads((Path(__file__).parents[1] / "ssrf_cases.json").read_text())
CASES: list[dict[str, Any]] = FILE["cases"]

GOOD = "93.184.216.34"
LABEL_63 = "a" * 63
NAME_253 = ".".join([LABEL_63, LABEL_63, LABEL_63, "a" * 57, "com"])


def words(text: str) -> list[str]:
    """Rows of a table that need no quotes."""
    return text.split()


def first_answer(case: dict[str, Any]) -> list[str] | None:
    """What the one resolution of a first connection brings."""
    for answers in case.get("dns", {}).values():
        return list(answers[0]) if answers and isinstance(answers[0], list) else list(answers)
    return None


def test_the_case_file_is_whole() -> None:
    """The copy holds as many cases, blocked and allowed, as its header says."""
    verdicts = Counter(case["expect"] for case in CASES)
    assert (len(CASES), verdicts["block"], verdicts["allow"]) == (FILE["count"], FILE["block"], FILE["allow"])
    assert len({case["id"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case_gets_its_verdict_at_its_stage(case: dict[str, Any]) -> None:
    """What is to be refused at admission is refused there; what passes it is judged by its first answer."""
    policy = Policy()
    admission = policy.judge_url(case["url"])
    assert admission.allowed is (case["stage"] == "connect"), admission
    verdict = policy.judge(case["url"], first_answer(case))
    assert verdict.allowed is (case["expect"] == "allow"), verdict
    assert verdict.allowed or verdict.reason in REASONS


@pytest.mark.parametrize("case", [case for case in CASES if case["class"] == "rebind"], ids=lambda case: case["id"])
def test_each_later_answer_is_judged_anew(case: dict[str, Any]) -> None:
    """A name that passed once has earned nothing: the next connection judges the next answer."""
    [answers] = case["dns"].values()
    verdicts = [Policy().judge(case["url"], answer).allowed for answer in answers]
    assert verdicts == [answer == [GOOD] for answer in answers]


ADMISSION: dict[tuple[str, str], list[str]] = {
    ("confusion", "malformed_url"): [
        *words("https:/127.0.0.1/ https:127.0.0.1/ https:example.com https https:"),
        *words("https://[example.com/ https://example.com]/ https://[::1].example.com/ https://[::1]example.com/"),
        *words("https://example.com[::1]/ https://[[::1]]/ https://[::1]443/ https://[::1/128]/"),
    ],
    ("confusion", "userinfo"): [
        *words("https://@example.com/ https://example.com@ https://a@b@example.com/ https://example.com:pw@[::1]/"),
        *words("https://[::1]@example.com/ https://example.com:@127.0.0.1/ https://example.com%2f@127.0.0.1/"),
    ],
    ("confusion", "percent_in_authority"): [
        *words("https://example.com%40127.0.0.1/ https://example.com%00.evil.net/ https://example.com%0d%0a/"),
        *words("https://example.com:%34%34%33/ https://127.0.0.1%00/ https://[fe80::1%eth0]/ https://[fe80::1%]/"),
    ],
    ("confusion", "fragment"): words(
        "https://example.com# https://example.com/hook#part https://example.com/?a# https://#example.com/"
    ),
    ("confusion", "forbidden_character"): [
        *words(r"https://example.com\@127.0.0.1/ https:\\example.com/ https://example.com/\..\x"),
        *words('https://example.com/`id` https://example.com/a|b https://example.com/" https://exam^ple.com/'),
        *("https://example.com\n/", "https://example.com/\r", "https://example.com/ ", "\thttps://example.com/"),
        *("https://exa\x7fmple.com/", "https://example.com/\x85", "https://example.com/\v", "https://\0example.com/"),
    ],
    ("confusion", "trailing_dot"): words(
        "https:///example.com/ https:// https://?example.com/ https://example.com./ https://example.com../ https://./"
    ),
    ("confusion", "bad_hostname"): [
        *words("https://example..com/ https://exa_mple.com/ https://*.example.com/ https://$example.com/"),
        *words("https://example.com!/ https://(example.com)/ https://example.com;evil.net/ https://exam'ple.com/"),
        *words("https://example.com,evil.net/ https://example.com~/ https://example.com=/ https://example.com+a/"),
        *(f"https://{LABEL_63}a.example.com/", f"https://{NAME_253}a/"),
    ],
    ("confusion", "url_too_long"): ["https://example.com/" + "p" * 2_029],
    ("scheme", "scheme_not_https"): [
        *words("example.com HTTP://example.com/ http:// httpss://example.com/ https+unix://example.com/ :443 /hook"),
        *words("wss://example.com/ ws://127.0.0.1/ ldap://127.0.0.1/ jar:https://example.com!/ javascript:alert(1)"),
        *words("unix:/var/run/docker.sock url:https://example.com/ sftp://example.com/ mailto:a@example.com"),
    ],
    ("unicode", "forbidden_character"): [
        *words("https://１２７.0.0.1/ https://127．0．0．1/ https://127｡0｡0｡1/ https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/ https://münchen.de/"),
        *words("https://example.com／@127.0.0.1/ https://example.com＃@127.0.0.1/ https://example.com℀.evil.net/"),
        *words("https://١٢٧.0.0.1/ httpſ://example.com/ https://example.com:４４３/ https://example.com:٤٤٣/"),
        *("https://example.com/\u202e", "https://exa\u00admple.com/", "https://example.com/\ud800"),
    ],
    ("unicode", "bad_hostname"): words("https://www.xn--/ https://xn--example-.com/ https://xn--localhost-.com/"),
    ("unicode", "bad_idn"): [
        *words("https://xn--example.com/ https://xn--0.example.com/ https://xn--99999999.example.com/"),
        *words(
            "https://a1--b.example.com/ https://xn--ls8h.la/ https://yn--mnchen-3ya.de/ https://ab--joa.example.com/"
        ),
    ],
    ("v4-literal", "ip_literal"): [
        *words("https://127.0.0.1/ https://0.0.0.0/ https://10.0.0.1/ https://192.168.0.1/ https://100.100.100.200/"),
        *words("https://169.254.0.1/ https://255.255.255.255/ https://240.0.0.1/ https://192.88.99.1/"),
        *words("https://93.184.216.34/ https://127.0.0.1:8443/ https://127.0.0.1:22/ https://127.0.0.1:443?x"),
    ],
    ("v4-spelling", "bad_ipv4"): [
        *words("https://0/ https://1/ https://0177.0.0.1/ https://0x7f000001/ https://0X7F.1/ https://127.0.1/"),
        *words("https://0300.0250.1.1/ https://00000177.0.0.1/ https://127.000.000.001/ https://127.0.0.0x1/"),
        *words("https://1.2.3.4.5/ https://1.2.3/ https://1.2.3.4./ https://1..1/"),
        *words("https://0x7f.0x0.0x0.0x1/ https://1.1.1.256/ https://example.com.1/ https://example.0x7f/"),
        *words("https://.127.0.0.1/ https://4294967295/ https://-1.1/ https://1e3.1/ https://999999999999999999/"),
        *words("https://xn--127-.0.0.1/ https://0o177.0.0.1/ https://127.0.0.0x/"),
    ],
    ("v6", "ip_literal"): [
        *words("https://[::ffff:127.0.0.1]/ https://[::127.0.0.1]/ https://[::7f00:1]/ https://[64:ff9b::7f00:1]/"),
        *words("https://[64:ff9b:1::1]/ https://[2002:7f00:1::]/ https://[2001:0:7f00:1::]/ https://[2001:20::1]/"),
        *words("https://[3fff::1]/ https://[fe80::1]/ https://[fd00::1]/ https://[ff00::1]/ https://[::0.0.0.1]/"),
        *words("https://[FD00:EC2::254]/ https://[::FFFF:A9FE:A9FE]/ https://[::5efe:7f00:1]/"),
        *words("https://[0000:0000:0000:0000:0000:0000:0000:0001]/ https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/"),
    ],
    ("v6", "bad_ipv6"): [
        *words(
            "https://[]/ https://[:]/ https://[:::1]/ https://[::1::]/ https://[1:2:3:4:5:6:7:8:9]/ https://[1]/ https://[127.0.0.1]/"
        ),
        *words("https://[::12345]/ https://[::ffff:127.0.0.01]/ https://[::ffff:127.1]/ https://[0x7f::1]/"),
    ],
    ("v6", "bad_port"): words("https://::1/ https://::ffff:127.0.0.1/ https://fe80::1/ https://[::1]:/"),
    ("name", "special_name"): [
        *words("https://LOCALHOST/ https://foo.localhost/ https://db.localdomain/ https://x.corp/ https://x.home/"),
        *words("https://metadata.google.internal/ https://a.alt/ https://a.mail/ https://foo.example/ https://local/"),
        *words("https://x.intranet/ https://x.private/ https://arpa/ https://a.b.svc/ https://redis.docker/"),
        *words("https://2.0.0.127.IN-ADDR.ARPA/ https://localhost:443/ https://a.cluster/ https://x.workgroup/"),
        *words(
            "https://x.intra/ https://x.domain/ https://x.localnet/ https://x.dockerhost/ https://x.service.consul/"
        ),
    ],
    ("name", "single_label"): words(
        "https://metadata/ https://kubernetes/ https://com/ https://ip6-localhost/ https://redis:6379/"
    ),
    ("name", "trailing_dot"): words("https://localhost./ https://metadata.google.internal./"),
    ("port", "port_not_allowed"): [
        *words("https://example.com:1/ https://example.com:80/ https://example.com:444/ https://example.com:6379/"),
        *words("https://example.com:8080/ https://example.com:9443/ https://example.com:65535/"),
    ],
    ("port", "bad_port"): [
        *words("https://example.com:0/ https://example.com:00/ https://example.com:0443/ https://example.com:000443/"),
        *words(
            "https://example.com:65536/ https://example.com:65979/ https://example.com:0x1bb/ https://example.com:443.0/"
        ),
        *words(
            "https://example.com:1e3/ https://example.com:443:443/ https://example.com:~/ https://example.com:99999/"
        ),
        *words("https://example.com: https://example.com:?x https://example.com:443;/ https://example.com:443&x/"),
    ],
    ("port", "forbidden_character"): ["https://example.com: 443/", "https://example.com:443 /"],
}


OF_THEIR_OWN = {
    "The URL names no host; write it after the slashes, as in https://example.com/hook.",
    "The host is an IP address of a network where clouds keep credentials; use a DNS name.",
}
"""What is said of a reason where its usual sentence would advise what does not help."""


@pytest.mark.parametrize(
    ("url", "reason"), [(url, reason) for (_, reason), urls in ADMISSION.items() for url in urls], ids=ascii
)
def test_refused_at_admission(url: str, reason: str) -> None:
    """More spellings of each class are refused before anything is resolved, by the rule that names them best."""
    verdict = Policy().judge_url(url)
    assert (verdict.allowed, verdict.reason) == (False, reason)
    if verdict.detail not in OF_THEIR_OWN and reason != "scheme_not_https":  # of that one there are several
        assert verdict.detail == REASONS[reason]


ADMITTED = [
    "https://example.com",
    "https://example.com/",
    "https://example.com?a=b",
    "https://example.com:443/",
    "https://example.com:8443/hook",
    "HTTPS://Example.COM/Hook",
    "https://example.com/@127.0.0.1/",
    "https://example.com//127.0.0.1/",
    "https://example.com/a/../b/./c",
    "https://example.com/%2e%2e/%00",
    "https://example.com/;x=1,2'()*!$&+=:@~._-",
    "https://example.com/[::1]?[x]",
    "https://example.com/?u=https://user:pw@127.0.0.1:22/%23",
    "https://example.com/???",
    "https://1.example.com/",
    "https://1.2.3.4.example.com/",
    "https://a.1a/",
    "https://169-254-169-254.example.com/",
    "https://localhost.example.com/",
    "https://local.example.com/",
    "https://x--y.example.com/",
    "https://a-b.example.com/",
    "https://dead.beef/",
    "https://xn--fiqs8s.xn--55qx5d/",
    "https://xn--80ak6aa92e.com/",
    "https://XN--MNCHEN-3YA.de/",
    "https://xn--strae-oqa.de/",
    f"https://{LABEL_63}.com/",
    f"https://{NAME_253}/",
    "https://example.com/" + "p" * 2_028,
]


@pytest.mark.parametrize("url", ADMITTED)
def test_admitted_and_allowed_with_a_public_address(url: str) -> None:
    """Plain public names pass, whatever their path and query spell."""
    assert Policy().judge(url, [GOOD]).allowed, Policy().judge(url, [GOOD])


CLOSED_ADDRESSES = words("""
    0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.253 169.254.169.254 169.254.170.2 169.254.255.255
    172.16.0.0 172.17.0.1 172.31.255.255 192.0.0.0 192.0.0.9 192.0.0.170 192.0.0.192 192.0.0.255 192.0.2.0
    192.0.2.255 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0
    198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0
    255.255.255.254 255.255.255.255 :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8
    ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b::a9fe:a9fe
    64:ff9b:1::10.0.0.1 64:ff9b:1:ffff::1 100::1 100:0:0:1::1 1fff:ffff::1 2001::1 2001:0:7f00:1::
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1
    2001:30::1 2001:1ff:ffff::1 2001:db8::1 2001:db8:ffff::1 2002:: 2002:7f00:1:: 2002:808:808::1
    2002:a9fe:a9fe:: 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 fdff::1
    fe80::1 fe80::5efe:7f00:1 febf::1 fec0::1 feff::1 ff00::1 ff02::1 ffff::1 fd00:c::1 fe80::a9fe:a9fe
""")

BAD_ADDRESSES = words("""
    fe80::1%eth0 2606:4700::1111%1 1.1.1.1%eth0 127.1 0177.0.0.1 8.8.8.08 8.8.8 0x8.8.8.8 134744072 [::1]
    [2606:4700::1111] 8.8.8.8:443 8.8.8.8/32 localhost example.com １.1.1.1 ::ffff:8.8.8.08
""")

PUBLIC_ADDRESSES = words("""
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
    192.0.3.0 192.31.195.255 192.31.197.0 192.52.192.255 192.52.194.0 192.88.98.255 192.88.100.0 192.167.255.255
    192.169.0.0 192.175.47.255 192.175.49.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255
    203.0.114.0 223.255.255.255 2000::1 2001:200:: 2001:db7:ffff::1 2001:db9::1 2001:4860:4860::8888 2003::1
    2400:cb00::1 2606:4700::1111 2620:4f:7fff::1 2620:4f:8001::1 2a00:1450:4001::1 3ffe::1 3fff:1000::1
""")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        *((address, "address_not_allowed") for address in CLOSED_ADDRESSES),
        *((address, "bad_address") for address in [*BAD_ADDRESSES, "", " 8.8.8.8", "8.8.8.8\n", "8.8.8.8\0"]),
        *((address, "") for address in PUBLIC_ADDRESSES),
    ],
)
def test_address_alone_and_in_company(address: str, reason: str) -> None:
    """An address has one verdict, and one that is refused condemns the whole answer at any place in it."""
    policy = Policy()
    assert policy.judge_address(address).reason == reason
    for answer in ([address], [GOOD, address], [address, GOOD]):
        verdict = policy.judge("https://hooks.example.org/", answer)
        assert (verdict.allowed, verdict.reason) == (not reason, reason)
        assert not address or address not in verdict.detail.replace("2000::/3", "")


@pytest.mark.parametrize(("count", "reason"), [(0, "no_addresses"), (1, ""), (16, ""), (17, "too_many_addresses")])
def test_number_of_answers(count: int, reason: str) -> None:
    """From one to sixteen addresses are an answer; none or more are not."""
    assert Policy().judge("https://example.com/", [GOOD] * count).reason == reason
