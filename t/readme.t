#!/usr/bin/perl
# The README's tour works as it is printed.

use strict;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;

my $t = CardxTest->new->start;

open my $in, '<', "$CardxTest::ROOT/README.md" or die "README.md: $!";
my $readme = do { local $/; <$in> };
my @steps = $readme =~ /^```sh tour\n(.*?)^```$/msg;
cmp_ok(scalar @steps, '>=', 5, 'the tour has its steps');

# Each step says where it is, so that a failure names it; what it writes goes
# into this test's folder.
my $script = "set -eu\ncd '$CardxTest::ROOT'\n";
for my $n (0 .. $#steps) {
    $script .= "echo '== step $n'\n$steps[$n]";
}
my $var = $t->var;
$script =~ s{/tmp/anna}{$var/anna}g;
$script =~ s{ci/demo env}{cat '$var/demo.env'};

open my $out, '>', "$var/tour.sh" or die "tour.sh: $!";
print $out $script;
close $out;

my $output = CardxTest::capture('timeout', '300', 'bash', "$var/tour.sh");
is($?, 0, 'every step succeeds') or diag($output);

like($output, qr/"initial_password": "\w+"/, 'an account is made');
like($output, qr/^BEGIN:VCARD\r$/m, 'a vCard comes');
like($output, qr/TEL[^\n]*\+46 8 123 456 78/, 'with the work number');
unlike($output, qr/70 123 45 67/, 'without the number that the key hides');
like($output, qr/"kind":"contact"/, 'the other one hears of the change');
like($output, qr/"knows about gratings".*Head of optics/s,
    'and has it beside the own note');
like($output, qr/"key_refused"\s*\z/, 'the revoked key is refused');

ok(-s "$var/anna$_", "anna$_ is there")
    for '.webp', '.jpg', '.html', '-qr.svg';

$t->finish;
done_testing;
