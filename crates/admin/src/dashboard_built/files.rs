// Written by web/vite.config.ts.
[
    ("assets/index-BotM0fid.js", include_bytes!("assets/index-BotM0fid.js")),
    ("assets/index-GxgjHHZW.css", include_bytes!("assets/index-GxgjHHZW.css")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
]
