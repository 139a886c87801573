// Written by web/vite.config.ts.
[
    ("assets/index-CRXRTNho.js", include_bytes!("assets/index-CRXRTNho.js")),
    ("assets/index-DaydJjOe.css", include_bytes!("assets/index-DaydJjOe.css")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
