// Written by web/vite.config.ts.
[
    ("assets/index-DbCvpfSR.css", include_bytes!("assets/index-DbCvpfSR.css")),
    ("assets/index-De1WagHA.js", include_bytes!("assets/index-De1WagHA.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
