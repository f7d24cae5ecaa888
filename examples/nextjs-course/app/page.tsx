export default function Page() {
  return (
    <main>
      <h1>Bangla cooking</h1>
      <p>Ten lessons, BDT 1,500.</p>
      <form method="post" action="/orders">
        <button type="submit">Pay with bKash</button>
      </form>
    </main>
  );
}
