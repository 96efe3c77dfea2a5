"""A template: makes the prompt of a conversation."""

from minerva_plugin import About, Prompt, Refused, Template, text_of

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class Plugin(Template):
    about = About(
        version="0.1.0",
        summary="ChatML with instructions in front of every conversation.",
        args={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "instructions": {
                    "type": "string",
                    "maxLength": 8192,
                    "default": "Answer briefly.",
                    "description": "Told to the model before everything else; empty for nothing.",
                }
            },
        },
    )

    @staticmethod
    def render(chat, args):
        if not chat.messages:
            raise Refused("the conversation is empty")
        prompt = Prompt()
        if instructions := args.get("instructions", "Answer briefly."):
            turn(prompt, "system", instructions)
        is_open = chat.continue_last and chat.messages[-1].role == "assistant"
        whole = chat.messages[:-1] if is_open else chat.messages
        for message in whole:
            if message.role not in ROLES:
                raise Refused(f"there is no role '{message.role}'; use system, user, assistant or tool")
            turn(prompt, ROLES[message.role], text_of(message))
        prompt.special("<|im_start|>assistant\n")
        if is_open:
            prompt.text(text_of(chat.messages[-1]))
        return prompt.stop("<|im_end|>")


def turn(prompt, role, text):
    """A whole turn. The markup is the template's own; what people wrote goes in as text, where markup means nothing."""
    prompt.special(f"<|im_start|>{role}\n").text(text).special("<|im_end|>\n")
