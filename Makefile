# msearch. `make list` names the targets.
VERSION := 0.1.0
BUILD   ?= build
ifeq ($(origin CC),default)
CC      := gcc
endif
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes
OPT     ?= -O2 -g
OPENMP  ?= -fopenmp
CFLAGS  += -std=c17 -D_GNU_SOURCE -DMSEARCH_VERSION='"$(VERSION)"' $(WARN) $(OPT) -fopenmp -I. $(SANITIZE)
LDFLAGS += $(SANITIZE) $(OPENMP)
ifdef RELOCATABLE # looks for its libraries beside itself
LDFLAGS += -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib:$$ORIGIN/../lib'
endif
LDLIBS  := -lz3 -lcjson -lxxhash -ldl -lm -lpthread

# A room is a folder with its chapters (sub-folders) and a static library; it may use the rooms below it only. cuda_templates makes
# two: its chapter runtime, which needs a driver, is a library of its own, so that search cannot use it. tools makes two: its chapter
# session, what a library and its bindings call, is one of its own, so that it cannot use the command line.
ROOMS := session search runtime cuda_templates verify mugraph
folders_mugraph        := mugraph mugraph/program mugraph/file
folders_verify         := verify
folders_cuda_templates := cuda_templates $(filter-out %/runtime %/device,$(patsubst %/,%,$(sort $(wildcard cuda_templates/*/))))
folders_runtime        := cuda_templates/runtime
folders_search         := search search/prune search/structures search/schedules
folders_session        := tools/session
folders_tools          := tools
below_mugraph        :=
below_verify         := mugraph
below_cuda_templates := mugraph
below_runtime        := cuda_templates mugraph
below_session        := search runtime cuda_templates verify mugraph
below_search         := cuda_templates verify mugraph

archive = $(BUILD)/lib$(1).a
objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(folders_$(1):%=%/*.c)))

## all: the msearch binary
all: msearch

msearch: $(BUILD)/msearch
	cp $< $@.tmp && mv $@.tmp $@

$(BUILD)/msearch: $(call objects,tools) $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

# More targets with as many jobs as there are cores, unless the caller says otherwise.
JOBS := $(shell nproc 2>/dev/null || echo 2)
parallel = $(MAKE) $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(JOBS))

## demo: install what is missing, build, and search for a kernel of RMSNorm + linear
demo:
	tools/setup.sh demo
	$(parallel) msearch
	./msearch rmsnorm -b 1 --fresh

## check: install what is missing, build, and run all tests
check:
	tools/setup.sh check
	$(parallel) msearch tests
	tools/run-tests.sh $(TESTS)

## test: build and run the tests (TESTS="build/tests/mugraph_json ..." for some)
test: msearch tests
	tools/run-tests.sh $(TESTS)

define room
$(call archive,$(1)): $(call objects,$(1))
	rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# Texts that the binary carries: workload programs and device templates, as C strings in generated sources.
$(call archive,mugraph): $(BUILD)/mugraph/workloads.embed.o
$(call archive,cuda_templates): $(BUILD)/cuda_templates/templates.embed.o
$(BUILD)/mugraph/workloads.embed.c: EMBED := mugraph/program/workloads.h mugraph_workload_file mugraph_workload_files mugraph_n_workload_files
$(BUILD)/mugraph/workloads.embed.c: $(sort $(wildcard mugraph/program/workloads/*.mg))
$(BUILD)/cuda_templates/templates.embed.c: EMBED := cuda_templates/emit/templates.h cuda_template_file cuda_template_files cuda_n_template_files
$(BUILD)/cuda_templates/templates.embed.c: $(sort $(wildcard cuda_templates/*/*.cuh))
$(BUILD)/%.embed.c: tools/embed.sh Makefile
	@mkdir -p $(@D)
	sh tools/embed.sh $(EMBED) $(filter-out tools/embed.sh Makefile,$^) > $@.tmp && mv $@.tmp $@
$(BUILD)/%.embed.o: $(BUILD)/%.embed.c
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# tests/<room>_<topic>.c is a cmocka program that links its room and what stands below it; tests/cli_<topic>.c and
# tests/all_<topic>.c link everything.
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/mugraph_*.c tests/verify_*.c tests/search_*.c tests/cuda_*.c tests/session_*.c tests/cli_*.c tests/all_*.c))
test_libs = $(foreach r,$(1) $(below_$(1)),$(call archive,$(r)))

define test_of
$(BUILD)/tests/$(2)_%: $(BUILD)/tests/$(2)_%.o $(call test_libs,$(1))
	$(CC) $(LDFLAGS) $$^ -lcmocka $(LDLIBS) -o $$@
endef
$(eval $(call test_of,mugraph,mugraph))
$(eval $(call test_of,verify,verify))
$(eval $(call test_of,search,search))
$(eval $(call test_of,runtime,cuda))
$(eval $(call test_of,session,session))
$(BUILD)/tests/cli_%: $(BUILD)/tests/cli_%.o $(foreach r,$(ROOMS),$(call archive,$(r))) | $(BUILD)/msearch
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/all_%: $(BUILD)/tests/all_%.o $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
# A GPU that does nothing, see there.
$(BUILD)/tests/cli_tune $(BUILD)/tests/cli_bench: | $(BUILD)/tests/fake/libcuda.so.1
$(BUILD)/tests/cli_bench: | $(addprefix $(BUILD)/bench/,kernels times fit_cost)
$(BUILD)/tests/fake/libcuda.so.1: tests/fake/gpu.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) -fPIC -shared -I. $< -lxxhash -o $@
.PRECIOUS: $(BUILD)/tests/%.o $(BUILD)/%.o

GOLDEN := $(addprefix $(BUILD)/tests/,cuda_golden cuda_generic cuda_stream cuda_chain cuda_rows cuda_tiled cuda_cost cli_golden)
## golden: rewrite the golden kernels and reports of tests/golden/ with what is printed now; git shows the difference
golden: msearch $(GOLDEN)
	for t in $(GOLDEN); do MSEARCH_GOLDEN=write $$t || exit 1; done

## check-golden: compare them, without the other tests of these programs
check-golden: msearch $(GOLDEN)
	MSEARCH_GOLDEN=only tools/run-tests.sh $(GOLDEN)

## cubins: what nvcc makes of the golden kernels, a hash each: the same before and after a rewording
cubins:
	tools/cubins.sh

## tests: build every test program
tests: $(TESTS)

# bench/<name>.c is a program that links everything.
BENCHES := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))
$(BENCHES): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

## bench-verify: time real-shape verification and witness fingerprints (ARGS="threads batch")
bench-verify: $(BUILD)/bench/verify_speed
	$< $(ARGS)

## bench-search: search speed of all workloads, medians (ARGS="-r runs -t threads program:batch ...")
bench-search: $(BUILD)/bench/search_speed
	$< $(ARGS)

## bench-kernels: on a machine with a GPU, time every saved µGraph (ARGS: options)
bench-kernels: $(BUILD)/bench/kernels
	$< $(ARGS) $(wildcard saved_mugraphs/*.json)

## bench-times: on a machine with a GPU, time many schedules of many programs, what the cost model is fitted to (ARGS: options)
bench-times: $(BUILD)/bench/times
	$< $(ARGS)

## bench-model: how the cost model ranks what was timed (FILES="a.json ..."; default: saved µGraphs and what bench-times kept; ARGS=-v lists all)
bench-model: $(BUILD)/bench/model
	$< $(ARGS) $(if $(filter file,$(origin FILES)),$(wildcard saved_mugraphs/*.json bench/results/times-*/*.json),$(FILES))

DEVICE ?= h100
## fit-cost: fit a device's column of cost.def to what bench-times kept (DEVICE=h200; WRITE=yes writes it; ARGS: options)
fit-cost: $(BUILD)/bench/fit_cost
	$< $(if $(filter yes,$(WRITE)),--write) $(ARGS) $(DEVICE) $(sort $(wildcard bench/results/times-$(DEVICE)/*.json))

# Variants are builds of their own in build-<variant>/, of the same rules.
variant = $(parallel) --no-print-directory BUILD=build-$(1)
tests_of = $(patsubst $(BUILD)/%,build-$(1)/%,$(filter-out %/all_house %/all_emulate,$(TESTS)))

# CHECKING: what passes hand on is looked at once more (mugraph/check.h).
CHECKING := -DMSEARCH_CHECK
## checked: all tests with the asserts at the borders of passes
checked:
	$(call variant,checked) OPT="-O2 -g $(CHECKING)" build-checked/msearch tests
	TEST_SECONDS=1800 MSEARCH=build-checked/msearch tools/run-tests.sh $(call tests_of,checked)

## asan: all tests under the address and undefined behaviour sanitizers, with these asserts
asan:
	$(call variant,asan) OPT="-O1 -g $(CHECKING)" SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" build-asan/msearch tests
	TEST_SECONDS=1800 MSEARCH=build-asan/msearch tools/run-tests.sh $(call tests_of,asan)

# tests/tsan/gomp.c stands in for libgomp, whose synchronisation the thread sanitizer does not see.
TSAN := -fsanitize=thread
## tsan: parallel searches under the thread sanitizer
tsan: build-tsan/gomp.o
	$(call variant,tsan) OPT="-O1 -g $(CHECKING)" SANITIZE=$(TSAN) OPENMP=$< build-tsan/msearch
	tools/tsan.sh build-tsan/msearch
build-tsan/gomp.o: tests/tsan/gomp.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O1 -g $(TSAN) -c $< -o $@

## clang: everything compiles with clang, warnings being errors
clang:
	$(call variant,clang) CC=clang build-clang/msearch tests

FOLDERS := $(foreach r,$(ROOMS) tools,$(folders_$(r))) bench tests
SOURCES := $(wildcard $(FOLDERS:%=%/*.c) tests/*/*.c)
HEADERS := $(wildcard $(FOLDERS:%=%/*.h))

## tidy: clang-tidy with .clang-tidy (SOURCES="a.c ..." for some)
tidy:
	printf '%s\n' $(SOURCES) | xargs -P $(JOBS) -n 1 sh -c 'clang-tidy --quiet "$$0" -- -std=c17 -D_GNU_SOURCE -fopenmp -I. 2>/dev/null'

## cppcheck: cppcheck with .cppcheck-suppressions
cppcheck:
	@mkdir -p build-cppcheck
	cppcheck --quiet -j $(JOBS) --std=c11 -D_GNU_SOURCE -I. --enable=warning,performance,portability --inline-suppr --suppressions-list=.cppcheck-suppressions \
	  --cppcheck-build-dir=build-cppcheck --error-exitcode=1 $(SOURCES)

## emulate: generated kernels on the CPU (EMULATE_CASE="chain: attention" for some), and faults in them that must be found
emulate: $(BUILD)/tests/all_emulate
	$<

## check-toys: a toy generator and a toy operator, added to a scratch copy as CONTRIBUTING.md says
check-toys: msearch
	tests/toys/run.sh

## check-house: the rules of the house: arrows, circles, names, lengths of functions
check-house: msearch
	tools/check-house.sh $(BUILD)

CLANG_FORMAT ?= clang-format
FORMATTED := $(SOURCES) $(HEADERS) $(wildcard tests/*/*.h cuda_templates/*/*.cuh)
## check-format: what clang-format would change is an error
check-format:
	$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)

## format: clang-format on the files of FILES (default: those that git calls changed)
FILES ?= $(shell git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h' '*.cuh')
format:
	$(if $(filter-out tests/golden/%,$(FILES)),$(CLANG_FORMAT) -i $(filter-out tests/golden/%,$(FILES)))

FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 30
## fuzz: every libFuzzer target for FUZZ_SECONDS (30) from its seeds; FUZZERS="fuzz_json" for some
fuzz:
	$(call variant,fuzz) CC=clang OPT="-O1 -g" SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" $(FUZZERS:%=build-fuzz/%)
	@set -e; for f in $(FUZZERS); do \
	  echo "== $$f, $(FUZZ_SECONDS) s"; mkdir -p build-fuzz/corpus/$$f build-fuzz/found; seeds=tests/fuzz/corpus/$${f#fuzz_}; [ -d $$seeds ] || seeds=; \
	  build-fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=4096 -artifact_prefix=build-fuzz/found/$$f- -print_final_stats=1 \
	    build-fuzz/corpus/$$f $$seeds >build-fuzz/$$f.log 2>&1 || { tail -n 60 build-fuzz/$$f.log; exit 1; }; \
	  sed -n 's/^stat::number_of_executed_units: */runs: /p' build-fuzz/$$f.log; done
$(FUZZERS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/tests/fuzz/%.o $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) -fsanitize=fuzzer $^ $(LDLIBS) -o $@

## dist: dist/msearch-VERSION-x86_64-linux.tar.gz, which runs from any folder with the libraries it needs inside
dist:
	$(call variant,dist) RELOCATABLE=1 build-dist/msearch build-dist/bench/kernels build-dist/bench/times
	tools/dist.sh build-dist/msearch $(VERSION)

# Hand-built and random µGraphs on a GPU. They link neither libz3 nor libcjson, so they run where those are missing.
GPU_TESTS := $(BUILD)/tests/gpu_test $(BUILD)/tests/gpu_random
$(GPU_TESTS): %: %.o $(foreach r,runtime cuda_templates verify mugraph,$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ -lxxhash -ldl -lm -lpthread -o $@

## gpu-check: on a machine with a GPU, run and compare all workloads at b = 1, 8, 16, and sanitize every kernel (SHAPES=yes: and others)
gpu-check: msearch $(GPU_TESTS) $(BUILD)/bench/kernels
	$(BUILD)/tests/gpu_test
	$(BUILD)/tests/gpu_test --pdl
	$(BUILD)/tests/gpu_test --backend 1
	$(BUILD)/tests/gpu_test --device a100
	$(BUILD)/tests/gpu_random
	tools/gpu-check.sh

## clean: remove what was built
clean:
	rm -rf build build-checked build-asan build-tsan build-clang build-fuzz build-cppcheck build-dist dist msearch

## list: name the targets
list:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | sort

.PHONY: all demo check test tests bench-verify bench-search bench-model bench-times fit-cost bench-kernels checked asan tsan clang tidy cppcheck format fuzz dist gpu-check golden check-golden cubins emulate check-toys check-house check-format clean list
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
