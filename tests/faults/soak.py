def soak(*_): raise SystemExit
