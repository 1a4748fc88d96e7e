#!/usr/bin/perl

# Another master key takes the place of the one before (docs/operation.md):
# while workers open what either has wrapped, all data keys are wrapped anew;
# then the old key opens nothing, and nobody has noticed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use CardxTest;
use CardxTest::Edge ();
use CardxTest::Matching;

my $secrets = $t->var . '/secrets';
my $settings = $t->var . '/conf/cardx.conf';
my @names = map { s{.*/(.*)\.pid$}{$1}r } grep { !m{/(?:cardxd|nginx|redis|postgres)} }
    glob $t->{pids} . '/*.pid';

# cardxd reads master keys from these files from now on.
sub keys_are {
    my ($key, $other) = @_;
    my $text = CardxTest::Edge::read_file($settings);
    $text =~ s/^(?:other_)?master_key_file .*\n//mg;
    $text .= "master_key_file $secrets/$key\n";
    $text .= "other_master_key_file $secrets/$other\n" if $other;
    CardxTest::Edge::write_file($settings, $text);
    my %old = map { $_ => $t->pid($_) } @names;
    $t->signal('cardxd', 'HUP');
    $t->wait_for(sub { !grep {
        my $pid = $t->pid($_);
        !defined $pid || !$t->is_process($_, $pid)
            || $t->is_process($_, $old{$_})
    } @names }) or die 'the workers were not replaced';
}

sub rewrap {
    my $output = CardxTest::capture("$t->{build}/cardx-fanout", $settings,
        'rewrap');
    return ($? >> 8, $output);
}

sub note_of {
    my ($me, $id) = @_;
    my $r = $t->get("/v1/contacts/$id", undef, $me->{token});
    return $r->{status} == 200 ? $r->{json}{own}{notes}{n}{note}
        : $r->{status};
}

sub add {
    my ($me, $phone, $note) = @_;
    my $r = $t->post('/v1/contacts', { own => { '@type' => 'Card',
        version => '1.0', name => { full => 'X' },
        phones => { p => { number => $phone } },
        notes => { n => { note => $note } } } }, $me->{token});
    die "contact: $r->{status} $r->{body}" if $r->{status} != 201;
    return $r->{json}{contact_id};
}

sub meets {
    my ($me, $id, $whom, $name) = @_;
    ok($t->wait_for(sub {
        ($t->get("/v1/contacts/$id", undef, $me->{token})->{json}{card_id}
            // '') eq $whom->{card_id};
    }, 30), $name);
}

my ($anna, $ben, $cleo) = map { person() } 1 .. 3;
my $of_anna = add($anna, $ben->{phone}, 'met in Oslo');
my $of_ben = add($ben, $anna->{phone}, 'met in Rome');
meets($anna, $of_anna, $ben, 'they know each other');
settled();
my $pairs = "select string_agg(distinct key_id::text, ' ')
    from cardx.match_entries";
my $key_id = $t->psql($pairs);

# 64 hex digits that only their owner reads
CardxTest::Edge::write_file("$secrets/new_key", '');
chmod 0640, "$secrets/new_key";
chown +(stat "$secrets/master_key")[4, 5], "$secrets/new_key";
CardxTest::Edge::write_file("$secrets/new_key", 'ab' x 32 . "\n");

keys_are('master_key', 'new_key');
is(note_of($anna, $of_anna), 'met in Oslo', 'a second key changes nothing');

keys_are('new_key', 'master_key');
is(note_of($anna, $of_anna), 'met in Oslo',
    'under the new one, what the old one has wrapped is read');
my $dora = person();
my $of_dora = add($dora, $cleo->{phone}, 'under the new key');
is(note_of($dora, $of_dora), 'under the new key', 'and who comes now is');

my ($code, $output) = rewrap();
is($code, 0, 'wrapped anew');
is($output, "data keys: 3 wrapped anew, 1 were, 0 can't be opened\n",
    'all but who came later');
($code, $output) = rewrap();
is($output, "data keys: 0 wrapped anew, 4 were, 0 can't be opened\n",
    'once is enough');
ok($t->wait_for(sub {
    my $now = $t->psql($pairs);
    $now ne $key_id && $now =~ /^\d+$/;
}, 30), 'numbers are hashed anew');
settled();

keys_are('new_key');
is(note_of($anna, $of_anna), 'met in Oslo', 'the old key is not needed');
is(note_of($ben, $of_ben), 'met in Rome', 'by anybody');
is(note_of($dora, $of_dora), 'under the new key', 'nor before');
meets($anna, $of_anna, $ben, 'who knew each other does');
my $of_cleo = add($cleo, $dora->{phone}, 'x');
meets($cleo, $of_cleo, $dora, 'who meets now does');

# the old key alone
$t->expect_log(qr/the data key of \S+ can't be opened/);
$t->expect_log(qr/another master key/);
keys_are('master_key');
is(note_of($anna, $of_anna), 503, 'the old key opens nothing');
($code, $output) = rewrap();
is($code, 1, 'nor wraps it');
is(scalar(() = $output =~ /^the data key of \S+ is under neither master key$/mg),
    4, 'and says whose it can not');

keys_are('new_key');
is(note_of($anna, $of_anna), 'met in Oslo', 'and has done no harm');

$t->finish;
done_testing;
