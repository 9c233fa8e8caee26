# msearch. `make list` names the targets.
BUILD   ?= build
CC      ?= gcc
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes
OPT     ?= -O2 -g
CFLAGS  += -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) -fopenmp -I.
LDFLAGS += $(SANITIZE) -fopenmp
CFLAGS  += $(SANITIZE)
LDLIBS  := -lz3 -lcjson -lxxhash -ldl -lm -lpthread

# A room is a folder and a static library; it may use the rooms to its right only.
ROOMS := search cuda_templates verify mugraph
below_mugraph        :=
below_verify         := mugraph
below_cuda_templates := mugraph
below_search         := verify mugraph

archive = $(BUILD)/lib$(1).a
objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))

## all: the msearch binary
all: msearch

msearch: $(BUILD)/msearch
	cp $< $@.tmp && mv $@.tmp $@

$(BUILD)/msearch: $(call objects,tools) $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

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
$(BUILD)/mugraph/workloads.embed.c: EMBED := mugraph/embedded.h mugraph_embedded mugraph_embedded_workloads mugraph_n_embedded_workloads
$(BUILD)/mugraph/workloads.embed.c: $(sort $(wildcard mugraph/workloads/*.mg))
$(BUILD)/cuda_templates/templates.embed.c: EMBED := cuda_templates/embedded.h cuda_embedded cuda_embedded_templates cuda_n_embedded_templates
$(BUILD)/cuda_templates/templates.embed.c: $(sort $(wildcard cuda_templates/*.cuh))
$(BUILD)/%.embed.c: tools/embed.sh
	@mkdir -p $(@D)
	sh tools/embed.sh $(EMBED) $(filter-out tools/embed.sh,$^) > $@.tmp && mv $@.tmp $@
$(BUILD)/%.embed.o: $(BUILD)/%.embed.c
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# tests/<room>_<topic>.c is a cmocka program that links its room and what stands below it; tests/cli_<topic>.c and
# tests/all_<topic>.c link everything.
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/mugraph_*.c tests/verify_*.c tests/search_*.c tests/cuda_*.c tests/cli_*.c tests/all_*.c))
test_libs = $(foreach r,$(1) $(below_$(1)),$(call archive,$(r)))

define test_of
$(BUILD)/tests/$(2)_%: $(BUILD)/tests/$(2)_%.o $(call test_libs,$(1))
	$(CC) $(LDFLAGS) $$^ -lcmocka $(LDLIBS) -o $$@
endef
$(eval $(call test_of,mugraph,mugraph))
$(eval $(call test_of,verify,verify))
$(eval $(call test_of,search,search))
$(eval $(call test_of,cuda_templates,cuda))
$(BUILD)/tests/cli_%: $(BUILD)/tests/cli_%.o $(foreach r,$(ROOMS),$(call archive,$(r))) | msearch
	$(CC) $(LDFLAGS) $(filter-out msearch,$^) -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/all_%: $(BUILD)/tests/all_%.o $(foreach r,$(ROOMS),$(call archive,$(r)))
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
.PRECIOUS: $(BUILD)/tests/%.o $(BUILD)/%.o

## tests: build every test program
tests: $(TESTS)

## clean: remove what was built
clean:
	rm -rf build msearch

## list: name the targets
list:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

.PHONY: all tests clean list
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
