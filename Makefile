# Everything from nothing: each target makes what it needs. `make help` says what there is.

PYTHON ?= python3
PREFIX ?= /opt/encoderd
UNITDIR ?= /etc/systemd/system
SYSUSERSDIR ?= /etc/sysusers.d
UDEVRULESDIR ?= /etc/udev/rules.d

# Which PyAV `make install` takes: auto, wheel or distribution. A package maker's machine is not the one it is for.
PYAV ?= $(if $(DESTDIR),wheel,auto)
# Where `make install` looks for the GPU; the tests have machines of their own.
MACHINE ?= /

# The tests start a thousand processes, and each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PY := $(VENV)/bin/python
DEMO := -m encoderd.cli.demo
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# The stamp is written last and holds the checkout's path: a venv that was interrupted, has been moved, or whose
# Python is gone, is made anew.
STAMP := $(VENV)/made-for
SOUND := $(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" && $(PY) -c '' 2>/dev/null && echo yes)

# The oldest PyAV that encoderd works with, in a venv of its own. (Its wheel has no h264_qsv: those tests skip there.)
OLDEST_AV := 14.2.0
OLDEST := .venv-oldest
OLDEST_PY := $(OLDEST)/bin/python
OLDEST_STAMP := $(OLDEST)/made-for
OLDEST_SOUND := $(shell test "$$(cat $(OLDEST_STAMP) 2>/dev/null)" = "$$(pwd -P) $(OLDEST_AV)" \
    && $(OLDEST_PY) -c '' 2>/dev/null && echo yes)

.PHONY: help demo test test-oldest lint e2e e2e-vfio bench compare install install-host installed-venv clean python unsound
.DEFAULT_GOAL := help

help:
	@echo 'make demo      see a recording become a verified file; RECORDING=path takes one of yours'
	@echo 'make test      all tests but the slow ones; ARGS="-k settings" chooses'
	@echo 'make test-oldest   the same with the oldest PyAV, $(OLDEST_AV), in $(OLDEST)'
	@echo 'make lint      ruff and mypy'
	@echo 'make e2e       the slow tests'
	@echo 'make e2e-vfio  the host'"'"'s helper in an emulated machine with VT-d: root, and ten minutes'
	@echo 'make bench     speed, beside that of FFmpeg'"'"'s command line'
	@echo 'make compare   FOLDER=path: the engine on your recordings, beside FFmpeg'"'"'s own ffprobe and ffmpeg'
	@echo 'make install   as root: to $(PREFIX), with unit, user and settings; DESTDIR= and PREFIX= are honoured,'
	@echo '               PYAV=wheel or PYAV=distribution says which PyAV, PYAV=auto looks at the GPU'
	@echo 'make install-host   as root on the host: encoderd-host, with its unit and settings; no user, no PyAV of a GPU'
	@echo 'make clean     remove the venv and what the tools left'
	@echo 'PYTHON=python3.12 chooses the Python; it must be 3.11 or newer.'

demo: $(STAMP)
	@$(PY) $(DEMO) $${RECORDING:+"$$RECORDING"}

test: $(STAMP)
	@$(PY) -m pytest -n 3 --dist worksteal $(ARGS)

test-oldest: $(OLDEST_STAMP)
	@$(OLDEST_PY) -m pytest -n 3 --dist worksteal $(ARGS)

lint: $(STAMP)
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

e2e: $(STAMP)
	@$(PY) -m pytest tests/e2e tests/integration -m slow $(ARGS)

e2e-vfio: $(STAMP)
	@$(PY) -m pytest tests/e2e_vfio $(ARGS)

bench: $(VENV)/bench
	@$(PY) -m tests.bench $(ARGS)

compare: $(VENV)/bench
	@$(PY) -m tests.compare $(ARGS) $${FOLDER:+"$$FOLDER"}

clean:
	rm -rf $(VENV) $(OLDEST) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# What may be missing, each in one sentence.
python:
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo 'Python is missing ($(PYTHON)). On Debian: apt-get install python3 python3-venv' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "encoderd needs Python 3.11 or newer, $(PYTHON) is $$("$(PYTHON)" -V 2>&1)." \
	         'Name a newer one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'The venv module of $(PYTHON) is missing. On Debian: apt-get install python3-venv' >&2; exit 1; }

unsound:

$(STAMP): pyproject.toml $(if $(SOUND),,unsound) | $(if $(SOUND),,python)
	@rm -f $(VENV)/bench
	@if test -n "$(SOUND)"; then rm -f $@; else \
	    echo "Making $(VENV) ..."; rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV); fi
	@echo 'Installing what encoderd and its tests need ...'
	@$(PY) $(PIP_INSTALL) -e '.[test]' || { \
	    echo 'pip could not install the packages: are the network and the package index reachable?' >&2; exit 1; }
	@$(PY) -c 'import av' || { \
	    echo 'PyAV cannot be loaded. On a minimal Debian: apt-get install libstdc++6' >&2; exit 1; }
	@pwd -P > $@

# The package index says the rest: pip takes the newest that goes with that PyAV.
$(OLDEST_STAMP): pyproject.toml $(if $(OLDEST_SOUND),,unsound) | $(if $(OLDEST_SOUND),,python)
	@if test -n "$(OLDEST_SOUND)"; then rm -f $@; else \
	    echo "Making $(OLDEST) ..."; rm -rf $(OLDEST); "$(PYTHON)" -m venv $(OLDEST); fi
	@echo 'Installing what encoderd and its tests need, with PyAV $(OLDEST_AV) ...'
	@$(OLDEST_PY) $(PIP_INSTALL) --only-binary av -e '.[test]' 'av==$(OLDEST_AV)' || { \
	    echo 'pip could not install the packages: are the network and the package index reachable,' \
	         'and has PyAV $(OLDEST_AV) a wheel for this Python? (It has for 3.11 to 3.13.)' >&2; exit 1; }
	@echo "$$(pwd -P) $(OLDEST_AV)" > $@

$(VENV)/bench: $(STAMP)
	@$(PY) $(PIP_INSTALL) -e '.[bench]'
	@touch $@

# A package maker sets DESTDIR: then nothing of the running system is touched, and the venv's scripts name PREFIX.
install: installed-venv
	install -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSUSERSDIR)" "$(DESTDIR)$(UDEVRULESDIR)" "$(DESTDIR)/etc/encoderd" \
	    "$(DESTDIR)/usr/local/bin"
	sed 's|/opt/encoderd|$(PREFIX)|g' systemd/encoderd.service > "$(DESTDIR)$(UNITDIR)/encoderd.service"
	chmod 644 "$(DESTDIR)$(UNITDIR)/encoderd.service"
	install -m 644 systemd/encoderd.sysusers "$(DESTDIR)$(SYSUSERSDIR)/encoderd.conf"
	install -m 644 systemd/encoderd.udev "$(DESTDIR)$(UDEVRULESDIR)/60-encoderd.rules"
	ln -sfn "$(PREFIX)/bin/encoderd" "$(DESTDIR)/usr/local/bin/encoderd"
	@if test -e "$(DESTDIR)/etc/encoderd/encoderd.toml"; then \
	    echo 'Kept your /etc/encoderd/encoderd.toml; config/encoderd.toml shows what is new.'; \
	else install -m 644 config/encoderd.toml "$(DESTDIR)/etc/encoderd/encoderd.toml"; fi
	@if test -z "$(DESTDIR)"; then \
	    if command -v systemd-sysusers >/dev/null; then systemd-sysusers encoderd.conf; \
	    else echo 'There is no systemd-sysusers: make the user encoderd, in the groups render and video.' >&2; fi; \
	    if command -v udevadm >/dev/null && udevadm control --reload 2>/dev/null; then \
	        udevadm trigger --subsystem-match=virtio-ports || :; fi; \
	    if test -d /run/systemd/system; then systemctl daemon-reload; fi; \
	    echo 'Next: edit /etc/encoderd/encoderd.toml, then encoderd check, then systemctl enable --now encoderd'; fi

# The host encodes nothing, so its GPU chooses no PyAV.
install-host: CHOOSE_PYAV = echo wheel
install-host: installed-venv
	install -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)/etc/encoderd" "$(DESTDIR)/usr/local/bin"
	sed 's|/opt/encoderd|$(PREFIX)|g' systemd/encoderd-vm.service > "$(DESTDIR)$(UNITDIR)/encoderd-vm.service"
	chmod 644 "$(DESTDIR)$(UNITDIR)/encoderd-vm.service"
	ln -sfn "$(PREFIX)/bin/encoderd-host" "$(DESTDIR)/usr/local/bin/encoderd-host"
	@if test -e "$(DESTDIR)/etc/encoderd/encoderd-host.toml"; then \
	    echo 'Kept your /etc/encoderd/encoderd-host.toml; config/encoderd-host.toml shows what is new.'; \
	else install -m 644 config/encoderd-host.toml "$(DESTDIR)/etc/encoderd/encoderd-host.toml"; fi
	@if test -z "$(DESTDIR)"; then \
	    if test -d /run/systemd/system; then systemctl daemon-reload; fi; \
	    echo 'Next: edit /etc/encoderd/encoderd-host.toml, then encoderd-host check, then' \
	        'systemctl enable --now encoderd-vm'; fi

CHOOSE_PYAV = "$(PYTHON)" -B -m encoderd.preflight.pyav_choice "$(PYAV)" --root "$(MACHINE)" \
    --installed "$(DESTDIR)$(PREFIX)"

installed-venv: HOME_OF_PYTHON = "$(PYTHON)" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
installed-venv: python
	@test -n "$(DESTDIR)" || test "$$(id -u)" = 0 || { echo 'Only root can install: sudo make install' >&2; exit 1; }
	@case "$$($(HOME_OF_PYTHON))" in /root/*|/home/*) \
	    echo "The service cannot use $$($(HOME_OF_PYTHON)), it is in a home folder." \
	         'Name another: make install PYTHON=/usr/bin/python3' >&2; exit 1;; esac
	@pyav=$$($(CHOOSE_PYAV)) || exit 1; umask 022; set -e; \
	if test "$$pyav" = distribution; then \
	    "$(PYTHON)" -m venv --system-site-packages "$(DESTDIR)$(PREFIX)"; \
	    "$(DESTDIR)$(PREFIX)/bin/python" -m pip uninstall --quiet --yes av; \
	else "$(PYTHON)" -m venv "$(DESTDIR)$(PREFIX)"; fi
	umask 022; "$(DESTDIR)$(PREFIX)/bin/python" $(PIP_INSTALL) --upgrade .
	@test -z "$(DESTDIR)" || grep -rlIF "$(DESTDIR)$(PREFIX)" "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/pyvenv.cfg" \
	    | while read -r file; do sed -i "s|$(DESTDIR)$(PREFIX)|$(PREFIX)|g" "$$file"; done
