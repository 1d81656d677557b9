"""Which files are likely to belong to patients (encfs/evidence/likely.py)."""

from __future__ import annotations

import pytest

from encfs.evidence.likely import CLINICAL, HEAD, TITLES, Kind, kind_of

DICOM = bytes(128) + b"DICM\x02\x00\x00\x00UL"
HL7 = b"MSH|^~\\&|LAB|PRACTICE|EHR|PRACTICE|202611201200||ORU^R01|1|P|2.5.1\rPID|1||123\r"
CDA = b'<?xml version="1.0"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">'
FHIR = b'{\n  "resourceType": "Patient",\n  "id": "1"\n}'
GDT = b"01380006310\r\n014810000255\r\n"
CLAIM = (
    b"ISA*00*          *00*          *ZZ*A              *ZZ*B              *261120*1200*^*00501*000000001*0*P*:~"
    b"GS*HC*A*B*20261120*1200*1*X*005010X222A1~ST*837*0001*005010X222A1~"
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)
ZIP = b"PK\x03\x04\x14\x00"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"

FOUND = [
    ("x", DICOM, Kind.DICOM),
    ("IM0001", DICOM + bytes(9000), Kind.DICOM),
    ("x.txt", HL7, Kind.HL7),
    ("x", b"\x0b" + HL7, Kind.HL7),
    ("x.xml", CDA, Kind.CDA),
    ("x.xml", b"<cda:ClinicalDocument>", Kind.CDA),
    ("x.json", FHIR, Kind.FHIR),
    ("x.xml", b'<Patient xmlns="http://hl7.org/fhir">', Kind.FHIR),
    ("x.gdt", GDT, Kind.XDT),
    ("x.bdt", b"01380000020\r\n0129105001\r\n", Kind.XDT),
    ("x", CLAIM, Kind.CLAIM),
    ("x.txt", b"Mary, 219-09-9999, called", Kind.TEXT),
    ("x.csv", b"patient_id,date of birth\n1,1960-01-01\n", Kind.TEXT),
    ("x.txt", b"MRN 12345, E11.9", Kind.TEXT),
    ("x.txt", b"Arztbrief: Patientin geb. 1.1.1960", Kind.TEXT),
    ("x.txt", "DOB 1/1/1960, diagnosis".encode("utf-16"), Kind.TEXT),
    ("x.rtf", b"{\\rtf1 DOB 1960, diagnosis J45.909}", Kind.TEXT),
    ("a.db", b"SQLite format 3\x00" + bytes(84), Kind.DATABASE),
    ("x.accdb", b"\x00\x01\x00\x00Standard ACE DB\x00", Kind.DATABASE),
    ("x.mdb", b"\x00\x01\x00\x00Standard Jet DB\x00", Kind.DATABASE),
    ("PAT.DBF", b"\x03\x7a\x0b\x1b" + bytes(30), Kind.DATABASE),
    ("x.fdb", b"\x01\x00", Kind.DATABASE),
    ("x.sql", b"-- MySQL dump 10.13\n", Kind.DATABASE),
    ("x.pst", b"!BDN" + bytes(30), Kind.MAIL),
    ("Inbox", b"From - Fri Nov 20\nReceived: by x\nMessage-ID: <1>\n", Kind.MAIL),
    ("x.eml", b"Return-Path: <a>\nMessage-Id: <1>\n", Kind.MAIL),
    ("x.msg", OLE, Kind.MAIL),
    ("x.pdf", b"%PDF-1.7\n", Kind.DOCUMENT),
    ("x.DOC", OLE, Kind.DOCUMENT),
    ("x.docx", ZIP, Kind.DOCUMENT),
    ("x.rtf", b"{\\rtf1 hello}", Kind.DOCUMENT),
    ("x.xls", OLE, Kind.SPREADSHEET),
    ("x.ods", ZIP, Kind.SPREADSHEET),
    ("x.csv", b"a,b\n", Kind.SPREADSHEET),
    ("x.tif", b"II*\x00\x08", Kind.IMAGE),
    ("x.ds2", b"\x03ds2", Kind.DICTATION),
]

NOT_FOUND = [
    ("x", b""),
    ("x.txt", b"a list of things to buy"),
    ("x.txt", b"one patient man"),
    ("x.txt", b"order 123-45-67890 and 000-12-3456 and 900-12-3456"),
    ("x.bin", b"219-09-9999 DOB MRN" + bytes(range(32)) * 20),
    ("x.zip", ZIP),
    ("x.exe", b"MZ\x90\x00" + bytes(200)),
    ("x.doc", b"not what Word writes"),
    ("x.pdf", b"not a PDF"),
    ("x.json", b'{"resourceType": "Microsoft.Compute/disks"}'),
    ("x", b"DICM" + bytes(200)),
    ("x", b"MSH and more"),
    ("x.dbf", b"\xff"),
    ("x.edi", CLAIM.replace(b"ST*837", b"ST*850")),
]


@pytest.mark.parametrize(("name", "head", "kind"), FOUND)
def test_found(name: str, head: bytes, kind: Kind) -> None:
    """Each kind by its signs."""
    assert kind_of(name, head[:HEAD], len(head)) is kind


@pytest.mark.parametrize(("name", "head"), NOT_FOUND)
def test_not_found(name: str, head: bytes) -> None:
    """What only looks a little like it."""
    assert kind_of(name, head[:HEAD], len(head)) is None


def test_small_pictures_are_icons() -> None:
    """A JPEG counts from 16 KiB on."""
    assert kind_of("x.jpg", JPEG, 16_383) is None
    assert kind_of("x.jpg", JPEG, 16_384) is Kind.IMAGE
    assert kind_of("x.heic", b"\x00\x00\x00\x18ftypheic", 20_000) is Kind.IMAGE


def test_a_text_is_read_for_one_kib() -> None:
    """What comes later does not count."""
    sign = b" 219-09-9999 "
    assert kind_of("x.txt", b"." * 1000 + sign, 1013) is Kind.TEXT
    assert kind_of("x.txt", b"." * 1020 + sign, 1033) is None


def test_every_kind_has_a_title() -> None:
    """For people, whatever is found; and the clinical ones are some of them."""
    assert set(TITLES) == set(Kind) > CLINICAL
    assert {kind for _, _, kind in FOUND} == set(Kind)
