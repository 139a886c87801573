// Written by web/vite.config.ts.
[
    ("assets/index-D_-evqR3.js", include_bytes!("assets/index-D_-evqR3.js")),
    ("assets/index-HhCjhx5A.css", include_bytes!("assets/index-HhCjhx5A.css")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
