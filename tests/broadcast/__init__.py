"""
Recordings as broadcasters make them, made by code, and the eyes and ears that judge what became of them.

`making` draws pictures and sounds that can be measured and encodes them, `transport` multiplexes and damages them,
`studio` puts them together, `catalogue` lists the recordings, each with the `truth` that a viewer has to get, `sights`
measures a file, `judgement` compares. `mutations` and `fuzzing` break recordings at random.
"""
