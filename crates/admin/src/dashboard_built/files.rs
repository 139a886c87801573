// Written by web/vite.config.ts.
[
    ("assets/index-BmsWjitJ.js", include_bytes!("assets/index-BmsWjitJ.js")),
    ("assets/index-GxgjHHZW.css", include_bytes!("assets/index-GxgjHHZW.css")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
