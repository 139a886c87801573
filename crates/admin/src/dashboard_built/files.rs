// Written by web/vite.config.ts.
[
    ("assets/index-iU2OY8Ad.css", include_bytes!("assets/index-iU2OY8Ad.css")),
    ("assets/index-uv9t-NtA.js", include_bytes!("assets/index-uv9t-NtA.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
