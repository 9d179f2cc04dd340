"""Languages as containers name them: ISO 639-2, three letters. Source: the Library of Congress, ISO 639-2 code list."""

from __future__ import annotations

import re

#: ISO 639-1 → ISO 639-2/T, of the languages that have broadcasts of their own.
_TWO_LETTERS = """
    af=afr am=amh ar=ara az=aze be=bel bg=bul bn=ben bs=bos ca=cat cs=ces cy=cym da=dan de=deu el=ell en=eng
    eo=epo es=spa et=est eu=eus fa=fas fi=fin fo=fao fr=fra fy=fry ga=gle gd=gla gl=glg gu=guj ha=hau he=heb
    hi=hin hr=hrv hu=hun hy=hye id=ind is=isl it=ita ja=jpn ka=kat kk=kaz km=khm kn=kan ko=kor ku=kur la=lat
    lb=ltz lo=lao lt=lit lv=lav mk=mkd ml=mal mn=mon mr=mar ms=msa mt=mlt my=mya nb=nob ne=nep nl=nld nn=nno
    no=nor pa=pan pl=pol ps=pus pt=por rm=roh ro=ron ru=rus se=sme si=sin sk=slk sl=slv so=som sq=sqi sr=srp
    sv=swe sw=swa ta=tam te=tel tg=tgk th=tha tk=tuk tl=tgl tr=tur uk=ukr ur=urd uz=uzb vi=vie xh=xho yi=yid
    zh=zho zu=zul
"""
_BY_TWO_LETTERS = {pair[:2]: pair[3:] for pair in _TWO_LETTERS.split()}


def three_letters(language: str) -> str:
    """
    Return the ISO 639-2 code of a language tag ("de", "de-AT", "DEU"), "" for what is none.

    Three letters are taken as they are: the code may be one of a broadcaster's own ("qaa": the original sound).
    """
    primary = re.split(r"[-_]", language.strip().lower(), maxsplit=1)[0]
    if re.fullmatch(r"[a-z]{3}", primary):
        return "" if primary == "und" else primary
    return _BY_TWO_LETTERS.get(primary, "")
