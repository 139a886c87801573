// What is built goes into crates/admin/src/dashboard_built, is committed there, and is the same bytes on every machine.
import { readdirSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const TARGET = ["chrome123", "firefox121", "safari17.5"];

/** Lists what was built, for `include_bytes!`: so `cargo build` needs neither Node nor a build script. */
function rustList(): Plugin {
  return {
    name: "rust-list",
    enforce: "post",
    generateBundle(_, bundle) {
      const names = [...Object.keys(bundle), ...readdirSync(new URL("public", import.meta.url))]
        .filter((name) => name !== "files.rs" && name !== "README.md")
        .sort();
      const rows = names.map(
        (name) => `    (${JSON.stringify(name)}, include_bytes!(${JSON.stringify(name)})),\n`,
      );
      const source = `// Written by web/vite.config.ts.\n[\n${rows.join("")}]\n`;
      this.emitFile({ type: "asset", fileName: "files.rs", source });
    },
  };
}

export default defineConfig({
  base: "/dashboard/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [rustList()],
  build: {
    outDir: "../crates/admin/src/dashboard_built",
    emptyOutDir: true,
    target: TARGET,
    cssTarget: TARGET,
    // Neither an inline script nor a data URL: the content security policy allows none.
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    sourcemap: false,
  },
  server: { proxy: { "/admin": "http://127.0.0.1:4100" } },
});
