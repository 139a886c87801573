"use strict";

// The secret stands behind the `#`, which no browser sends along. It is sent only when the person presses the button, so
// that programs which look at links before people do can't use the link up.
const element = (id) => document.getElementById(id);
const secret = location.hash.slice(1);
const gone = "This link was used already, its time is over, or it is incomplete. Ask whoever sent it for a new one.";

const say = (text) => {
  element("says").textContent = text;
};

const claim = async () => {
  element("show").disabled = true;
  say("One moment …");
  let answer;
  try {
    answer = await fetch(location.pathname, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ secret }),
      credentials: "omit",
    });
  } catch {
    element("show").disabled = false;
    return say("The server could not be reached. Try again.");
  }
  if (answer.status === 404) return say(gone);
  if (!answer.ok) {
    element("show").disabled = false;
    return say("The server could not hand the key over just now. Try again later.");
  }
  const key = await answer.json();
  element("provider").textContent = key.provider;
  element("key-id").textContent = key.keyId;
  element("key").textContent = key.scopedKey;
  element("shown").hidden = false;
  element("show").hidden = true;
  say("This is the only time that the key is shown.");
};

const copy = async () => {
  try {
    await navigator.clipboard.writeText(element("key").textContent);
    say("Copied. This is the only time that the key is shown.");
  } catch {
    getSelection().selectAllChildren(element("key"));
    say("The browser did not let the page copy it; the key is selected, copy it by hand.");
  }
};

element("show").addEventListener("click", claim);
element("copy").addEventListener("click", copy);
if (secret) {
  element("show").disabled = false;
} else {
  say(gone);
}
