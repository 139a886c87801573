import "./ui/style.css";
import "./ui/style-pages.css";
import "@preact/signals";
import { render } from "preact";
import { Layout } from "./layout/layout";
import "./live";
import { session, start } from "./session";
import { SignIn } from "./sign-in/sign-in";
import { keepFocus } from "./ui/focus";
import { ErrorNote, Loading } from "./ui/state";

function App() {
  const now = session.value;
  switch (now.state) {
    case "unknown":
      return (
        <main id="main">
          <Loading />
        </main>
      );
    case "unreachable":
      return (
        <main id="main">
          <h1>till</h1>
          <ErrorNote error={now.error} onRetry={() => void start()} />
        </main>
      );
    case "out":
      return <SignIn why={now.why} />;
    case "in":
      return <Layout key={now.self.id} />;
  }
}

const root = document.getElementById("app");
if (root) {
  render(<App />, root);
  keepFocus(root);
}
void start();
