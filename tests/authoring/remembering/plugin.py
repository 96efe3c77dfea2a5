from minerva_plugin import About, Refused, Template, store


class Plugin(Template):
    about = About(version="0.1.0", summary="Remembers.")

    @staticmethod
    def render(chat, args):
        visits = store.add("visits")
        if visits == 1:
            store.set("last", "a föx".encode(), seconds=3600)
        last = store["last"].decode() if "last" in store else "nothing"
        if visits == 2:
            del store["last"]
        raise Refused(f"{visits}: {last}")
