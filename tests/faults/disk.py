def disk(*_): raise SystemExit
