"""Frequent function words of languages, by which direction.py recognises them.

Words of one letter are left out where they are initials or units in any text: those in Latin letters.
"""

_WORDS = """
en eng: the of and to in is that was it for on with he as are at be by this had not you have from they his but we can
    will what there has their which
de deu ger: der die und das den von zu mit sich des auf für ist im dem nicht ein eine auch es an werden aus er hat wie
    bei sind
fr fra fre: de la le et les des en un du une que est pour qui dans par plus pas au sur se ne ce il sont avec elle nous
    leur cette ont été mais même était
es spa: de la que el en los del se las por un para con no una su es al lo como más pero sus le ya está muy este esta
    han fue ha sobre entre hay
pt por: de que do da em um para com não uma os no se na por mais as dos como mas ao ele das seu à são nas pela está
    você
it ita: di che la il un per in una è con non sono del della le si dei da gli al nel alla più anche lo come questo
    questa ha stato era degli nella
nl nld dut: de het een van en in is dat op te zijn met voor niet aan er om ook als dan maar bij nog uit door naar ze
    wordt
sv swe: och att det som en på är av för med den till inte om har de ett han var jag från så men kan vi hon eller
    skulle efter hade
da dan: og at det er en til af på for med den de ikke der har et var jeg fra som han kan vil men hvad også hun vi være
    efter blev skal havde
no nor nb nob: og det er på som en til av for med at ikke den har de et var jeg fra han vi hva også hun etter være ble
    kan vil men der skal hadde
fi fin: ja on ei se että oli hän ovat mutta kun niin kuin myös sen tai joka mitä olen hänen minä ollut jos ole tämä
    vain
et est: ja on ei et see ta oli kui ka ma aga mis siis nagu või oma ning selle tema olid veel välja seda kes võib mida
hu hun: az és hogy nem is egy volt de meg ez csak már el mint vagy még ha van azt fel ki mert lesz minden ezt
pl pol: na się nie do to jest że jak ale po co tak za od są jego przez tym już był które dla być może
cs ces cze: se na je že to do ale jako jsem za by jak podle byl které až bylo už který jsou také při jeho
sk slk slo: sa na je že to do ale ako som za by podľa bol ktoré až bolo už ktorý sú tiež pri jeho nie aj
sl slv: in je se na da za so ki pa ne tudi bi po kot ali sem iz bil kako pri še bilo tega lahko samo
hr hrv: je se na da su za od što kao nije sam iz bio koji ili ako bi to po samo kako biti nego koja
ro ron rum: de și în la cu nu pe că să un din este care mai pentru au ce se ca fost sau dar sunt prin după fi
tr tur: ve bir bu da de için ile çok olarak gibi daha ne en var olan kadar sonra ama değil ben mi her şey yok
id ind ms msa zsm: yang dan di itu dengan untuk tidak ini dari dalam akan pada juga ke karena bisa ada mereka lebih
    saya kami telah oleh adalah sebuah seorang para anda
ca cat: de la el que en les els per un una amb no es del al com més són però ha aquest aquesta seva també va perquè
    molt aquests seu hi ens
vi vie: và của là có không được cho một trong người những đã với các này khi để như đến về tôi cũng từ anh
sq sqi: të në dhe që një për me nuk është nga më së si ka do por edhe ishte kjo janë ai duke ky
lt lit: ir yra kad į iš su tai kaip ne buvo bet jo apie už nuo dėl tik ar jis jos šio taip savo būti po
lv lav lvs: un ir ka ar no par uz kas tas to nav lai kā bija bet vai pēc arī tā ko viņš es tikai līdz
ru rus: и в не на что я с он как это по но из у к все за его так же от для был или только мы вы бы да при до во
uk ukr: і в не на що я з він як це по але із у до та за його так же від для був або тільки ми ви й є
bg bul: и в не на че се за да е от с са по как като но това или той ще към при ми му със до бе съм един го може
be bel: і ў не на што я з ён як гэта па але у да за яго так ад для быў або толькі мы вы калі
mk mkd mac: и во не на што се за да е од со по како но тоа или тој ќе кон при ми му до беше сум еден ги
sr srp: и је у се на да су за од с што а као није сам из био који или ако би то по само како ће па
ar ara arb: في من على أن إلى التي الذي هذا عن مع لا ما هذه كان قد بين ذلك كل بعد هو أو لم ولا هي
fa fas per pes: و در به از که این را با است برای آن یک می تا بر خود هم نیز شده او اما باید کرد شود
ur urd: کے کی میں اور سے کا ہے کو نے پر یہ کہ اس ہیں کر بھی جو تھا ایک نہیں گیا تو وہ ہو
hi hin: के की में और से का है को ने पर यह कि इस हैं कर भी जो था एक नहीं गया तो वह हो
mr mar: आहे आणि या व हा ते तो की मध्ये होते होता असे पण त्या ही एक नाही केले यांनी आहेत काही त्यांच्या
ne nep npi: छ र मा को का लागि पनि यो छन् भने गर्न हो थियो एक तथा गरेको भएको त्यो उनले गर्ने हुन्छ
"""


def _read(table: str) -> dict[str, frozenset[str]]:
    """The words by each code of a language. A line that starts with spaces continues the one before it."""
    entries = (line.split(": ") for line in table.strip().replace("\n    ", " ").split("\n"))
    return {code: frozenset(words.split()) for codes, words in entries for code in codes.split()}


PROFILES = _read(_WORDS)
CODES = [entry.split()[0] for entry in _WORDS.replace("\n    ", " ").split("\n") if entry]  # one for each language
