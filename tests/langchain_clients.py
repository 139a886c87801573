"""LangChain's chat models as a driver: see harness/driver.py."""

import json
import sys


def model(client: str, url: str, key: str):
    """Imports late, so that a package that can't be loaded fails its own tests only."""
    if client == "langchain-openai":
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model="gpt-4o-mini", base_url=f"{url}/v1", api_key=key)
    if client == "langchain-anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model="claude-sonnet-4-6", base_url=url, api_key=key, max_tokens=64)
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model="gemini-2.5-flash", base_url=url, google_api_key=key)


def run(job: dict) -> dict:
    try:
        chat = model(job["client"], job["url"], job["key"])
        if job["mode"] == "plain":
            return {"text": chat.invoke("hi").text}
        return {"text": "".join(part.text for part in chat.stream("hi"))}
    except Exception as error:  # noqa: BLE001 - what it raises is the result
        return {"error": {"name": type(error).__name__, "message": str(error)}}


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
