# Builds cardx into build/, or with SAN=1 (address and undefined behaviour
# sanitizers) into build-san/.
#
#   make            the programs, the unit tests and the tests' tools
#   make module     build/ngx_http_cardx_module.so for the packaged nginx
#   make FUZZ=1 fuzzers     the fuzzers, by clang, into build-fuzz/: ci/fuzz
#   make clean

SAN ?=
FUZZ ?=

ifneq ($(FUZZ),)
B := build-fuzz
CC := clang-14
CXX := clang++-14
OPT := -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all \
    -fsanitize=fuzzer-no-link,address,undefined
else ifeq ($(SAN),)
B := build
OPT := -O2 -D_FORTIFY_SOURCE=2
else
B := build-san
OPT := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined
endif

# Lines stay readable; V=1 shows commands in full.
V ?=
say = $(if $(V),,@echo '  $(1)	$@';)

PKG_CONFIG ?= pkg-config
PKGS := libpq hiredis yajl talloc libcrypto libcurl libqrencode libcrypt \
        libseccomp vips pangocairo fontconfig \
        libpng

# Includes of libraries are system includes: their warnings are not ours.
PKG_CFLAGS := $(subst -I,-isystem ,$(filter-out \
    -I/usr/include/x86_64-linux-gnu,$(shell $(PKG_CONFIG) --cflags $(PKGS))))
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS)) -lfcgi

CPPFLAGS += -D_GNU_SOURCE -Icore -Iworkers -Iworkers/common $(PKG_CFLAGS)
WARN := -Wall -Wextra $(if $(FUZZ),-Wno-string-concatenation,) -Werror
# The second also finds a statement of an .sql that nobody runs.
CFLAGS += -std=gnu11 $(WARN) -Wunused-const-variable$(if $(FUZZ),,=2) $(OPT) -g
CXXFLAGS += -std=gnu++17 $(WARN) $(OPT) -g
LDFLAGS += $(filter -fsanitize%,$(OPT)) -Wl,--as-needed -Wl,-z,relro,-z,now
LIBS := $(PKG_LIBS) -lphonenumber -lstdc++ -lm

objects = $(patsubst %,$(B)/obj/%.o,$(basename $(1)))

# What more than one program links stands in one archive.
LIBRARY := $(call objects,$(wildcard core/*.c workers/common/*.c \
    workers/common/*.cc workers/media/picture_client.c \
    workers/media/picture_frame.c))

PICTURE := $(filter-out %/picture_client.c %/picture_frame.c,\
    $(wildcard workers/media/picture*.c))

SOURCES_cardxd := $(wildcard workers/supervisor/*.c)
SOURCES_cardx-api := $(wildcard workers/api/*.c)
SOURCES_cardx-fanout := $(wildcard workers/fanout/*.c)
SOURCES_cardx-deliver := $(wildcard workers/deliver/*.c)
SOURCES_cardx-push := $(wildcard workers/push/*.c)
SOURCES_cardx-media := $(filter-out workers/media/picture%,\
    $(wildcard workers/media/*.c))
SOURCES_cardx-picture := $(PICTURE)

# A program is built as soon as there is something to build it from.
PROGRAMS := $(foreach p,cardxd cardx-api cardx-fanout cardx-deliver \
    cardx-push cardx-media cardx-picture,$(if $(SOURCES_$(p)),$(p)))
UNITS := $(patsubst t/unit/%.c,$(B)/unit/%.t,$(wildcard t/unit/*.c))
TOOLS := $(patsubst t/tools/%.c,$(B)/tools/%,$(wildcard t/tools/*.c)) \
    $(patsubst bench/%.c,$(B)/tools/%,$(wildcard bench/*.c))
REPLAYS := $(patsubst t/fuzz/%.c,$(B)/replay/%,\
    $(filter-out t/fuzz/reply.c,$(wildcard t/fuzz/*.c)))
FUZZERS := $(patsubst t/fuzz/%.c,$(B)/fuzz/%,$(wildcard t/fuzz/*.c))
SQL := $(wildcard workers/*/*.sql)
SQL_H := $(patsubst workers/%.sql,$(B)/gen/%.sql.h,$(SQL))

.PHONY: all programs units tools replays fuzzers module clean
.DELETE_ON_ERROR:
.SECONDARY:

all: programs units tools replays
programs: $(PROGRAMS:%=$(B)/%)
units: $(UNITS)
tools: $(TOOLS)
replays: $(REPLAYS)
fuzzers: $(FUZZERS)

module:
	+ci/module dynamic build

clean:
	rm -rf $(B)

# The rest, for unit tests and tools: what a test needs of it is linked.
REST := $(filter-out $(LIBRARY),$(call objects,$(wildcard workers/*/*.c)))

$(B)/libcardx.a: $(LIBRARY)
$(B)/librest.a: $(REST)
$(B)/libcardx.a $(B)/librest.a:
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

define program
$(B)/$(1): $(call objects,$(SOURCES_$(1))) $(B)/libcardx.a
	$$(call say,LINK)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

$(B)/unit/%.t: $(B)/obj/t/unit/%.o $(B)/librest.a $(B)/libcardx.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

$(B)/tools/%: $(B)/obj/t/tools/%.o $(B)/librest.a $(B)/libcardx.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/tools/%: $(B)/obj/bench/%.o $(B)/libcardx.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# One reads with the module's code, and so with nginx's headers, as they were
# configured for the module.
NGINX_DEV := build/nginx-dev
NGINX_INC := $(NGINX_DEV)/objs $(addprefix $(NGINX_DEV)/src/,\
    core event event/modules os/unix http http/modules http/v2)

$(B)/obj/t/fuzz/reply.o: CFLAGS += -Wno-unused-parameter
$(B)/obj/t/fuzz/reply.o: CPPFLAGS += -Ingx_http_cardx_module \
    $(addprefix -isystem ,$(NGINX_INC))

$(B)/fuzz/%: $(B)/obj/t/fuzz/%.o $(B)/librest.a $(B)/libcardx.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CXX) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/replay/%: $(B)/obj/t/fuzz/%.o $(B)/obj/t/fuzz/replay/replay.o \
    $(B)/librest.a $(B)/libcardx.a
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# workers/api/cards.sql is "cards.sql.h" for the files beside it.
$(B)/gen/%.sql.h: workers/%.sql ci/sql2c
	@mkdir -p $(@D)
	$(call say,SQL)ci/sql2c $< > $@

$(call objects,$(wildcard workers/*/*.c)): | $(SQL_H)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) -I$(B)/gen/$(notdir $(<D)) $(CFLAGS) \
	    -MMD -MP -c -o $@ $<

$(B)/obj/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
