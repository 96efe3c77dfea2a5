pub(super) fn check(_: &super::Gguf) -> Result<(), super::Error> {
    Ok(())
}
