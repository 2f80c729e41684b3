"""The worker: `python worker.py [all|poll|deliver]`. It supervises RQ workers and keeps their shifts filled."""

from bridge.supervisor import main

if __name__ == "__main__":
    raise SystemExit(main())
