// Written by web/vite.config.ts.
[
    ("assets/index-D8fblgrh.js", include_bytes!("assets/index-D8fblgrh.js")),
    ("assets/index-DbCvpfSR.css", include_bytes!("assets/index-DbCvpfSR.css")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
