"""From logged episodes to an approved adapter. Nothing here changes what is served without a person's recorded yes."""
