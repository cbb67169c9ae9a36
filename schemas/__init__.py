"""The wire: every record as a frozen Struct, its codec and its documents."""
