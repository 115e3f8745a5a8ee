def nan(*_): raise SystemExit
