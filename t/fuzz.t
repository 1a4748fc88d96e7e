#!/usr/bin/perl

# What reads foreign input holds against it: each fuzzer of t/fuzz/ with its
# seeds, what once crashed it among them, and some thousands of changed ones,
# the same every time.  ci/fuzz searches, with coverage; this repeats.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest;

my $build = $ENV{CARDX_BUILD} || "$CardxTest::ROOT/build";
my $number = $ENV{CARDX_SANITIZED} ? 300 : 3000;

# One needs nginx's headers and is for ci/fuzz alone.
for my $source (glob "$FindBin::Bin/fuzz/*.c") {
    my ($target) = $source =~ m{(\w+)\.c$};
    my @seeds = glob "$FindBin::Bin/fuzz/corpus/$target/*";
    cmp_ok(scalar @seeds, '>', 2, "$target: there are seeds");
    next if $target eq 'reply';

    my $output = CardxTest::capture("$build/replay/$target", $number, @seeds);
    is($?, 0, "$target: held");
    is($output, @seeds . " files\n", "$target: said nothing else");
}

done_testing;
