"""The networks under other programs' interfaces, a file for each; nothing else imports them."""
